"""HTTP/1.1 as the service reads it: what is no body is bounded, and nobody is waited for without an end."""

from __future__ import annotations

import fcntl
import json
import math
import struct
import termios
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from motiontrace.service.access.headers import ANSWERS
from motiontrace.service.problem import MEDIA_TYPE, ProblemError, problem

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

HEAD_BYTES = 64 << 10  # of a request's head, and of what stands between the parts of a chunked body
Awaited = Literal["request", "head", "body", "rest", "reader", "end"]


@dataclass(frozen=True)
class Patience:
    """How long a connection is waited for, in seconds."""

    head: float  # until a request's head has come
    stall: float  # for the next piece of a body, and until some of an answer has been taken
    idle: float  # between two requests


class Registry(Protocol):
    """Counts the connections of a service."""

    def app_of(self, connection: BoundedProtocol, app: ASGIApp) -> ASGIApp:
        """Give what answers a new connection."""
        ...

    def idle(self, connection: BoundedProtocol) -> None:
        """Note that the connection has no request in hand."""
        ...

    def busy(self, connection: BoundedProtocol) -> None:
        """Note that a request has begun on the connection."""
        ...

    def closed(self, connection: BoundedProtocol) -> None:
        """Forget the connection."""
        ...


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds: it collects a head of any size, and waits for what never comes.

    What is waited for is one of: a "request", its "head", its "body", the "rest" of a body that was answered before it
    had come, the "reader" of an answer, and the "end" of a connection that is being closed.
    """

    def __init__(self, *arguments: Any, patience: Patience, connections: Registry, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience, self._registry = patience, connections
        self._pending = 0  # bytes that have come since the last head, piece of a body or end of a request
        self._receiving = False  # a request whose head has come, and whose end has not
        self._awaited: Awaited | None = None
        self._due = math.inf  # when that is given up
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(transport)
        self.app = self._registry.app_of(self, self.app)
        self._registry.idle(self)
        self._wait("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._registry.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head has more than {HEAD_BYTES:,} bytes.")

    def on_message_begin(self) -> None:
        """Take the first byte of a request."""
        super().on_message_begin()
        if self._awaited == "request":
            self._wait("head")

    def on_headers_complete(self) -> None:
        """Take the end of a head."""
        self._pending = 0
        self._receiving = True
        self._registry.busy(self)
        super().on_headers_complete()
        self._wait("body")

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._pending = 0
        super().on_body(body)
        if self._awaited == "body":
            self._due = self.loop.time() + self._patience.stall

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._pending = 0
        self._receiving = False
        super().on_message_complete()
        if self._awaited == "rest":
            self._wait("request")
        elif self._awaited == "body":
            self._awaited = None

    def on_response_complete(self) -> None:
        """Take the end of an answer: another request may come."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # it is begun anew by each byte that comes
        if self.transport.is_closing():
            self._close()
        elif self.cycle.response_complete:  # else it is that of the next request, which has come already
            self._registry.idle(self)
            self._wait("rest" if self._receiving else "request")

    def pause_writing(self) -> None:
        """Wait for the reader: much of the answer has not been taken."""
        super().pause_writing()
        if self._awaited is None:
            self._wait("reader")

    def resume_writing(self) -> None:
        """Go on: most of it has been taken."""
        super().resume_writing()
        if self._awaited == "reader":
            self._awaited = None

    @property
    def sending(self) -> bool:
        """Whether some of an answer has not been given to the kernel yet: its reader is slow."""
        return bool(self.transport.get_write_buffer_size())

    def give_way(self) -> None:
        """End the connection, on which nothing is being done, at once."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg, "Send HTTP/1.1 as RFC 9112 has it.")

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: who asks for another protocol, as curl --http2 does, is answered in this one."""

    def _wait(self, awaited: Awaited) -> None:
        patience = self._patience
        seconds = {"request": patience.idle, "head": patience.head}.get(awaited, patience.stall)
        self._awaited, self._due, self._unsent = awaited, self.loop.time() + seconds, 0
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._look)

    def _look(self) -> None:
        """See whether what is awaited is overdue; a body that nobody reads yet is not, nor is a slow reader."""
        self._timer = None
        if self._awaited is None:
            return
        moment = self.loop.time()
        if moment >= self._due:
            unsent = self._left_to_send()
            moves = unsent and unsent != self._unsent
            self._unsent = unsent
            if not moves and not (self._awaited == "body" and self.flow.read_paused):
                self._give_up()
                return
            self._due = moment + self._patience.stall
        self._timer = self.loop.call_at(self._due, self._look)

    def _give_up(self) -> None:
        if self._awaited in ("reader", "end"):
            self.transport.abort()
        elif self._awaited == "body" and not self.cycle.response_started:
            self.cycle.disconnected = True  # the app sees this, and can send nothing more
            self.cycle.message_event.set()
            self._late(f"No more of the request's body has come for {self._patience.stall:g} s.")
        elif self._awaited == "head" and self._pending:
            self._late(f"The request's head has not come as a whole within {self._patience.head:g} s.")
        else:
            self._close()

    def _late(self, detail: str) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail, "Send it again, without long pauses.")

    def _refuse(self, status: HTTPStatus, code: str, detail: str, todo: str) -> None:
        self.transport.write(refusal(ProblemError(status, code, detail, todo)))
        self._close()

    def _close(self) -> None:
        """Close the connection once all is sent, or nothing of it is taken any more."""
        self.transport.close()
        self._registry.idle(self)
        self._wait("end")

    def _left_to_send(self) -> int:
        """Bytes of answers that the other side has not taken, here and in the kernel."""
        left: int = self.transport.get_write_buffer_size()
        try:
            socket = self.transport.get_extra_info("socket")
            (queued,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
        except (OSError, ValueError):  # not on every system
            return left
        return left + int(queued)


def refusal(error: ProblemError) -> bytes:
    """An answer where there is no app to give one; the connection ends with it."""
    headers, body = refusal_parts(error)
    lines = [f"HTTP/1.1 {error.status} {error.status.phrase}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def refusal_parts(error: ProblemError) -> tuple[dict[str, str], bytes]:
    """The headers and the body of such an answer."""
    body = json.dumps(problem(error, None).model_dump(exclude_none=True)).encode()
    ends = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"}
    return ANSWERS | error.headers | ends, body
