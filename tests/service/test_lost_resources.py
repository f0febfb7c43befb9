"""A service that has no room left, or no descriptors: told as that, and nothing half is left behind."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from motiontrace.service.app import Server, create_app
from motiontrace.service.observability.logs import configure_logging
from motiontrace.service.settings import ServiceSettings
from tests import processes
from tests.service.asking import assert_problem, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.conftest import Corpus

ROOM = 64 << 10  # bytes that a file may have where there is no room
DESCRIPTORS = 200


def serve(home: Path, port: Path, log: Path) -> None:
    """Serve; at SIGUSR1 there is no room left, at SIGUSR2 no descriptor, and at SIGHUP all is as before."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    settings = ServiceSettings(home=home, device="cpu", lease_seconds=1)
    configure_logging(settings)
    server = Server(create_app(settings), host="127.0.0.1", port=0)
    held: list[int] = []

    def no_room(*_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))

    def no_descriptors(*_: object) -> None:
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for descriptor in held[-3:]:  # the call's own connection has one
            os.close(descriptor)
        del held[-3:]

    def as_before(*_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while held:
            os.close(held.pop())

    for number, change in ((signal.SIGUSR1, no_room), (signal.SIGUSR2, no_descriptors), (signal.SIGHUP, as_before)):
        signal.signal(number, change)
    port.write_text(str(server._sockets[0].getsockname()[1]))
    server.run()


class Service:
    """The service in a process of its own."""

    def __init__(self, settings: ServiceSettings, folder: Path) -> None:
        self.settings, self.log, port = settings, folder / "log", folder / "port"
        self.process = processes.start(serve, settings.home, port, self.log)
        until(lambda: port.exists() and port.read_text(), 60)
        self.url = f"http://127.0.0.1:{port.read_text()}"
        until(lambda: self.get("/readyz") == 200, 60)

    def get(self, path: str) -> int | None:
        try:
            return httpx.get(self.url + path, timeout=20).status_code
        except httpx.TransportError:
            return None

    def ask(self, content: bytes, wait: int = 0) -> httpx.Response:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        form: dict[str, Any] = {"files": {"video": content}, "data": {"prompt": "a square"}}
        return httpx.post(f"{self.url}/v1/queries", **form, headers=headers, timeout=60)

    def now(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        self.get("/healthz")

    def uploads(self) -> list[Path]:
        folder = self.settings.upload_directory
        return [path for path in folder.rglob("*") if path.name != "incoming"] if folder.exists() else []


@pytest.fixture
def service(settings: ServiceSettings, tmp_path: Path) -> Iterator[Service]:
    service = Service(settings, tmp_path)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.join()


def test_where_there_is_no_room_calls_are_told_and_leave_nothing(service: Service, corpus: Corpus) -> None:
    whole = corpus.video("up-red").read_bytes()
    padded = whole + bytes(4 * ROOM)  # longer than there is room for
    service.now(signal.SIGUSR1)
    for _ in range(5):
        answer = service.ask(padded)
        problem = assert_problem(answer, 507, "no_room")
        assert int(answer.headers["retry-after"]) > 0
        assert "traceback" not in problem["todo"]
        assert str(service.settings.home) not in answer.text
        assert service.uploads() == []
    assert service.get("/healthz") == 200
    log = service.log.read_text()
    assert "Traceback" not in log
    assert log.count("File too large") == 1
    service.now(signal.SIGHUP)
    assert service.ask(whole, wait=30).json()["status"] == "done"


def test_where_there_are_no_descriptors_calls_are_told_and_leave_nothing(service: Service, corpus: Corpus) -> None:
    whole = corpus.video("up-red").read_bytes()
    service.now(signal.SIGUSR2)
    for _ in range(5):
        with suppress(httpx.TransportError):  # it gave way to another connection
            answer = service.ask(whole)
            if answer.status_code != 202:
                problem = answer.json()
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) > 0
                assert "traceback" not in problem["todo"]
                assert str(service.settings.home) not in answer.text
    service.now(signal.SIGHUP)
    until(lambda: service.get("/healthz") == 200)
    listed = until(
        lambda: (
            (found := httpx.get(f"{service.url}/v1/queries").json()["queries"]) is not None
            and all(query["status"] == "done" for query in found)
            and [found]
        ),
        60,
    )
    assert len([path for path in service.uploads() if path.is_dir()]) == len(listed[0])
    assert service.ask(whole, wait=30).json()["status"] == "done"
    log = service.log.read_text()
    assert "Traceback" not in log
    assert log.count("Too many open files") < 10
