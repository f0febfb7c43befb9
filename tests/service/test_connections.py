"""How long connections are waited for, how many there can be, and what the others are told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from motiontrace.service import connections
from motiontrace.service.app import Server, create_app
from motiontrace.service.connections import Connections, Listener, ListenError, bind
from motiontrace.service.observability.logs import configure_logging
from motiontrace.service.protocol import BoundedProtocol
from motiontrace.service.settings import ServiceSettings
from tests import processes
from tests.service.asking import until
from tests.service.conftest import copy_of
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.conftest import Corpus

GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /v1/queries HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n"
START = b'--b\r\ncontent-disposition: form-data; name="video"; filename="v"\r\n\r\n'
PATIENCE = {"head_seconds": 0.4, "stall_seconds": 0.4, "idle_seconds": 0.4}


@pytest.fixture(scope="module")
def server(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of eight connections that waits for nothing long."""
    settings = copy_of(corpus, tmp_path_factory.mktemp("connections"))
    settings = settings.model_copy(update={"max_connections": 8, **PATIENCE})
    with serving(settings) as (server, _):
        # So that the kernel keeps little of an answer that is not taken; connections have what their listener has.
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield server


@pytest.fixture(scope="module")
def impatient(server: Server) -> tuple[ServiceSettings, int]:
    """The service's settings and port."""
    return server.config.app.state.settings, server.servers[0].sockets[0].getsockname()[1]  # type: ignore[union-attr]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def slow_reader(port: int) -> socket.socket:
    """A connection that has room for little of an answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    return connection


def read(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def status(port: int, request: bytes = GET) -> int:
    with connect(port) as connection:
        connection.sendall(request)
        return int(connection.recv(1 << 16).split()[1])


def problem(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    found: dict[str, object] = json.loads(body)
    assert found["detail"]
    assert found["todo"]
    return found


def trickled(port: int, first: bytes, piece: bytes, seconds: float = 3.0) -> bytes:
    """What comes of a request of which a little comes every 50 ms; fails where that goes on for long."""
    with connect(port) as connection:
        connection.sendall(first)
        connection.settimeout(0.05)
        until_ = time.monotonic() + seconds
        while time.monotonic() < until_:
            try:
                if answer := connection.recv(1 << 16):
                    return answer
                return b""
            except TimeoutError:
                pass
            except ConnectionError:
                return b""
            with suppress(ConnectionError):
                connection.sendall(piece)
    raise AssertionError("it is still waited for")


def test_a_connection_on_which_nothing_comes_is_closed(impatient: tuple[ServiceSettings, int]) -> None:
    with connect(impatient[1]) as connection:
        assert read(connection) == b""


def test_a_head_that_does_not_come_is_told(impatient: tuple[ServiceSettings, int]) -> None:
    with connect(impatient[1]) as connection:
        connection.sendall(GET[:20])
        assert problem(read(connection))["code"] == "request_timeout"


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"x"], ids=["headers", "a name"])
def test_a_head_that_comes_bit_by_bit_is_not_waited_for(impatient: tuple[ServiceSettings, int], piece: bytes) -> None:
    assert b" 408 " in trickled(impatient[1], GET[:-2], piece)


def test_blank_lines_are_no_request(impatient: tuple[ServiceSettings, int]) -> None:
    trickled(impatient[1], b"\r\n", b"\r\n")
    trickled(impatient[1], GET, b"\r\n")


def test_a_connection_is_kept_between_requests_and_closed_after(impatient: tuple[ServiceSettings, int]) -> None:
    with connect(impatient[1]) as connection:
        for _ in range(5):  # together longer than one without a request is kept
            connection.sendall(GET)
            assert b" 200 " in connection.recv(1 << 16)
            time.sleep(0.1)
        assert read(connection) == b""


def test_a_body_that_stops_is_told_and_leaves_nothing(impatient: tuple[ServiceSettings, int]) -> None:
    settings, port = impatient
    with connect(port) as connection:
        connection.sendall(POST + b"content-length: 9000000\r\n\r\n" + START + b"v" * (2 << 20))
        incoming = settings.upload_directory / "incoming"
        until(lambda: incoming.is_dir() and list(incoming.iterdir()))
        assert problem(read(connection))["code"] == "request_timeout"
    until(lambda: not list(incoming.iterdir()))


def test_a_slow_body_is_read_to_its_end(impatient: tuple[ServiceSettings, int]) -> None:
    body = b'{"clip": "up-red"}'
    with connect(impatient[1]) as connection:
        head = b"POST /v1/queries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body))
        for byte in body:
            time.sleep(0.05)
            connection.sendall(bytes([byte]))
        assert b" 201 " in connection.recv(1 << 16)


def test_the_rest_of_a_body_that_was_answered_is_not_read_for_ever(impatient: tuple[ServiceSettings, int]) -> None:
    with connect(impatient[1]) as connection:
        connection.sendall(POST.replace(b"multipart", b"nopart") + b"content-length: 9000000\r\n\r\n")
        assert b" 415 " in connection.recv(1 << 16)
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() < started + 3:
                connection.sendall(b"v")
                time.sleep(0.05)
        assert time.monotonic() - started < 2


def test_an_answer_that_nobody_takes_is_given_up(server: Server, impatient: tuple[ServiceSettings, int]) -> None:
    request = GET.replace(b"/healthz", b"/openapi.json")
    until(lambda: not server.server_state.connections)
    with slow_reader(impatient[1]) as connection:
        connection.sendall(request * 100)
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)
        taken = len(read(connection))
    with connect(impatient[1]) as connection:
        connection.sendall(request)
        time.sleep(0.1)
        whole = len(connection.recv(1 << 20, socket.MSG_WAITALL))
    assert taken < 50 * whole


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_who_asks_for_another_protocol_is_answered_in_this_one(
    impatient: tuple[ServiceSettings, int], caplog: pytest.LogCaptureFixture, protocol: bytes
) -> None:
    with connect(impatient[1]) as connection:
        connection.sendall(GET[:-2] + b"connection: upgrade\r\nupgrade: %s\r\n\r\n" % protocol)
        assert b" 200 " in read(connection)
    assert "pip install" not in caplog.text


def test_of_idle_connections_the_oldest_gives_way(impatient: tuple[ServiceSettings, int]) -> None:
    _, port = impatient
    with ExitStack() as stack:
        opened = [stack.enter_context(connect(port)) for _ in range(12)]
        assert status(port) == 200
        opened[-1].sendall(GET)
        assert b" 200 " in opened[-1].recv(1 << 16), "the youngest is still there"
        assert read(opened[0]) == b""


def test_an_answer_that_is_being_taken_slowly_does_not_give_way(impatient: tuple[ServiceSettings, int]) -> None:
    _, port = impatient
    with ExitStack() as stack:
        slow = stack.enter_context(slow_reader(port))
        slow.sendall(GET.replace(b"/healthz", b"/openapi.json"))
        head, _, body = slow.recv(1 << 10).partition(b"\r\n\r\n")
        for _ in range(12):
            stack.enter_context(connect(port))
        assert status(port) == 200
        json.loads(body + read(slow))
        assert b" 200 " in head


def test_where_all_are_in_use_others_are_told_and_health_is_answered(
    impatient: tuple[ServiceSettings, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = impatient
    with ExitStack() as stack:
        for _ in range(8):
            busy = stack.enter_context(connect(port))
            busy.sendall(POST + b"content-length: 9000000\r\n\r\n" + START)
        time.sleep(0.1)
        assert status(port) == 200
        with connect(port) as connection:
            connection.sendall(GET.replace(b"/healthz", b"/v1/indexes"))
            answer = read(connection)
        assert problem(answer)["code"] == "too_many_connections"
        assert re.search(rb"\r\nretry-after: \d+\r\n", answer)
        monkeypatch.setattr(connections, "SURPLUS", 0)
        with connect(port) as connection:
            assert problem(read(connection))["code"] == "too_many_connections"
    until(lambda: status(port, GET.replace(b"/healthz", b"/v1/indexes")) == 200)


def test_no_more_connections_than_descriptors_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in ((200, 50), (1024, 448), (1 << 20, 1000), (resource.RLIM_INFINITY, 1000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert Connections(1000).most == most


def test_a_port_in_use_and_an_address_of_another_machine_are_told() -> None:
    [taken] = bind("127.0.0.1", 0)
    with taken, pytest.raises(ListenError, match=r"Another program listens there.*--port"):
        bind("127.0.0.1", taken.getsockname()[1])
    for host in ("192.0.2.1", "no.such.host.invalid", "no..host", "h" * 70):
        with pytest.raises(ListenError, match="--host"):
            bind(host, 0)


def test_of_a_hosts_addresses_those_that_the_machine_has_are_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    [listening] = bind("localhost", 0)
    with listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def short_of_descriptors(home: Path, port: Path, log: Path, short: Path) -> None:
    """Serve with 200 descriptors, and take what is left of them while there is a file `short`."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    settings = ServiceSettings(home=home, device="cpu")
    configure_logging(settings)
    server = Server(create_app(settings), host="127.0.0.1", port=0)
    port.write_text(str(server._sockets[0].getsockname()[1]))

    def hog(held: list[int]) -> None:
        if short.exists():
            with suppress(OSError):
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
        while held and not short.exists():
            os.close(held.pop())

    held: list[int] = []
    signal.signal(signal.SIGUSR1, lambda *_: hog(held))
    server.run()


@pytest.fixture
def short(settings: ServiceSettings, tmp_path: Path) -> Iterator[tuple[int, int, Path, Path]]:
    """Port, process id, log and file of a service that can be short of descriptors."""
    port, log, flag = (tmp_path / name for name in ("port", "log", "short"))
    process = processes.start(short_of_descriptors, settings.home, port, log, flag)
    try:
        until(lambda: port.exists() and port.read_text(), 60)
        number = int(port.read_text())
        until(lambda: answers(number), 60)
        assert process.pid is not None
        yield number, process.pid, log, flag
    finally:
        process.kill()
        process.join()


def answers(port: int) -> bool:
    try:
        return status(port) == 200
    except (OSError, IndexError):
        return False


def test_with_200_descriptors_and_250_idle_connections_health_is_answered(short: tuple[int, int, Path, Path]) -> None:
    port, *_ = short
    with ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(connect(port))
        assert [status(port) for _ in range(3)] == [200] * 3


def test_without_descriptors_calls_are_answered_and_the_log_says_so_once(short: tuple[int, int, Path, Path]) -> None:
    port, process, log, flag = short
    with ExitStack() as stack:
        first = stack.enter_context(connect(port))
        flag.touch()
        first.sendall(GET)
        assert b" 200 " in first.recv(1 << 16)
        os.kill(process, signal.SIGUSR1)
        until(lambda: len(list(Path(f"/proc/{process}/fd").iterdir())) >= 199)
        for _ in range(10):  # idle ones give way
            connection = stack.enter_context(connect(port))
            connection.sendall(GET)
            assert b" 200 " in connection.recv(1 << 16)
    assert log.read_text().count("connections are refused: Too many open files") == 1
    flag.unlink()
    os.kill(process, signal.SIGUSR1)
    until(lambda: answers(port))


def listen_without_descriptors(port: Path) -> None:
    """Listen, and have no descriptor left for a connection."""

    async def listen() -> None:
        [listening] = bind("127.0.0.1", 0)
        Listener(listening, BoundedProtocol, Connections(8))
        port.write_text(str(listening.getsockname()[1]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        held = []
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        await asyncio.sleep(60)

    asyncio.run(listen())


def test_without_any_descriptor_a_connection_is_told(tmp_path: Path) -> None:
    process = processes.start(listen_without_descriptors, port := tmp_path / "port")
    try:
        until(lambda: port.exists() and port.read_text(), 60)
        for _ in range(3):
            with connect(int(port.read_text())) as connection:
                assert problem(read(connection))["code"] == "too_many_connections"
    finally:
        process.kill()
        process.join()
