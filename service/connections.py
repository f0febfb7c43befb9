"""Who is connected: how many at most, which are closed for new ones, and the answer to surplus ones."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.outage import Outage
from motiontrace.service.problem import ProblemError
from motiontrace.service.protocol import BoundedProtocol, refusal, refusal_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

RESERVED = 128  # descriptors that are no connections: the database's, videos', decoders'
SURPLUS = 16  # connections beyond the bound, which get 503; their health checks are answered
AT_ONCE = 16  # connections that are taken before others get their turn
BACKLOG = 2048  # connections that the kernel keeps until they are taken
PAUSE_SECONDS = 1.0  # where there is not even a descriptor to refuse a connection with
SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz"})
RETRY_SECONDS = 5
LISTENING = {
    errno.EADDRINUSE: "Another program listens there, motiontrace perhaps: end it, or name another port with --port.",
    errno.EACCES: "Ports below 1024 are the administrator's: name another one with --port.",
}
NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
log = logging.getLogger(__name__)


class ListenError(Exception):
    """The service cannot listen at the address that was given; the message says what to do."""


class Connections:
    """The open connections of a server. Of those on which nothing is done the oldest gives way to a new one."""

    def __init__(self, most: int) -> None:
        """`most` connections at once, and no more than the process's descriptors allow."""
        self._most = most
        self._open = 0
        self._idle: dict[BoundedProtocol, None] = {}  # in the order in which they fell idle
        self._counted: set[BoundedProtocol] = set()
        self._outage = Outage(log, "connections are refused")

    @property
    def most(self) -> int:
        """How many connections there can be; each may have a file open, and others need descriptors too."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            return self._most
        return min(self._most, max(descriptors // 4, (descriptors - RESERVED) // 2))

    def admit(self) -> bool:
        """Count a connection that has just come, if there is room for it or can be made."""
        if self._open >= self.most and not self.make_room() and self._open >= self.most + SURPLUS:
            self.refused(self.all_in_use())
            return False
        self._open += 1
        self._outage.passed()
        return True

    def refused(self, reason: str) -> None:
        """Say in the log, now and then, that a connection is refused."""
        self._outage.note(reason)

    def all_in_use(self) -> str:
        """Why a connection is refused: there is room for no further one."""
        return f"{self.most:,} are open and in use, the most that there can be"

    def make_room(self) -> bool:
        """End the connection that has been idle for longest; False where none is."""
        oldest = next((each for each in self._idle if not each.sending), None)
        if oldest is None:
            return False
        self.closed(oldest)
        oldest.give_way()
        return True

    def app_of(self, connection: BoundedProtocol, app: ASGIApp) -> ASGIApp:
        """Begin with a connection; gives what answers its requests."""
        self._counted.add(connection)
        return app if self._open <= self.most else TooMany(app, self)

    def idle(self, connection: BoundedProtocol) -> None:
        """Note that nothing is being done on it."""
        if connection in self._counted:
            self._idle.pop(connection, None)
            self._idle[connection] = None

    def busy(self, connection: BoundedProtocol) -> None:
        """Note that a request is under way on it."""
        self._idle.pop(connection, None)

    def closed(self, connection: BoundedProtocol) -> None:
        """Count it no more."""
        self._idle.pop(connection, None)
        if connection in self._counted:
            self._counted.remove(connection)
            self._open -= 1

    def failed(self) -> None:
        """Count a connection no more: it was admitted, but broke off before it was served."""
        self._open -= 1


class TooMany:
    """Answers connections beyond the bound: 503, with a time to try again. Health checks are answered as usual."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        if scope["path"] in ALWAYS_ANSWERED:
            await self._app(scope, receive, send)
            return
        self._connections.refused(self._connections.all_in_use())
        error = too_many_connections()
        named, body = refusal_parts(error)
        headers = [(name.encode(), text.encode()) for name, text in named.items()]
        await send({"type": "http.response.start", "status": int(error.status), "headers": headers})
        await send({"type": "http.response.body", "body": body})


def too_many_connections() -> ProblemError:
    """503 for whom there is no room."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_connections",
        "The service has as many connections as it can serve.",
        f"Try again in {RETRY_SECONDS} s; close connections and event streams that you do not need.",
        headers={"retry-after": str(RETRY_SECONDS)},
    )


class Listener:
    """Takes the connections that come to a listening socket; to uvicorn one of asyncio's servers.

    asyncio's own, and uvloop's, take as many as there are descriptors for, whoever needs one else, and then drop those
    that come without a word.
    """

    def __init__(
        self, listening: socket.socket, begin: Callable[[], BoundedProtocol], connections: Connections
    ) -> None:
        """`begin` makes a connection's protocol; to be called in the event loop."""
        self.sockets = (listening,)
        self._socket, self._begin, self._connections = listening, begin, connections
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # for a last word where there is none
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._listen()

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    async def wait_closed(self) -> None:
        """Return: nothing is left to be done."""

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in SHORT_OF:
                    raise
                self._connections.refused(f"{error.strerror}; raise the limit of open files (ulimit -n)")
                if not self._connections.make_room():
                    self._turn_away()
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._connections.admit():
                task = self._loop.create_task(self._connect(accepted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                _say_and_close(accepted)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._begin, accepted)
        except OSError:  # it is gone already
            accepted.close()
            self._connections.failed()

    def _turn_away(self) -> None:
        """Tell one that waits that there is no room, by the descriptor that is kept for that."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            with suppress(OSError):
                _say_and_close(self._socket.accept()[0])
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # another thread was quicker
            self._loop.remove_reader(self._socket)
            self._loop.call_later(PAUSE_SECONDS, self._listen)


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for all addresses of a host that this machine has.

    Raises:
        ListenError: it has none of them, or the port is taken or not allowed; says what to do.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(_addresses(host, port)):
            try:
                sockets.append(_listening(family, address))
            except OSError as error:  # ::1 of "localhost", say, where the machine has no IPv6
                if error.errno not in NOT_HERE:
                    raise
                missing = error
        if missing is not None and not sockets:
            raise missing
    except OSError as error:
        for each in sockets:
            each.close()
        advice = LISTENING.get(error.errno or 0, "Name an address of this machine with --host, and a port with --port.")
        raise ListenError(f"The service cannot listen on {host}, port {port}: {error.strerror}. {advice}") from error
    return sockets


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # a name with an empty label, or one that is too long
        raise OSError(errno.EINVAL, "that is no host's name") from error


def _listening(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as it may: the usual limit of 1,024 is one for programs of old."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system that says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _say_and_close(accepted: socket.socket) -> None:
    with accepted, suppress(OSError):
        accepted.setblocking(False)
        accepted.send(refusal(too_many_connections()))
        accepted.shutdown(socket.SHUT_WR)
        accepted.recv(1 << 16)  # what is left unread would have the answer thrown away
