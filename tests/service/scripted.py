"""HTTP servers on real sockets that misbehave as told."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass
class Answer:
    """What is answered; a status of 0 closes the connection without a word."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None  # as announced, where that is not the body's


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    size: int  # bytes of the body


@contextmanager
def answering(answer: Callable[[Request], Answer]) -> Iterator[tuple[str, list[Request]]]:
    """A server that answers as `answer` says; its URL, and the requests that have come."""
    requests: list[Request] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            size = left = int(self.headers.get("content-length", 0))
            while left:
                left -= len(self.rfile.read(min(left, 1 << 16)))
            request = Request(
                self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, size
            )
            requests.append(request)
            given = answer(request)
            self.close_connection = True
            if not given.status:
                return
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(given.body) if given.length is None else given.length))
            self.end_headers()
            self.wfile.write(given.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        poll_seconds = 0.01  # until it hears of its end
        thread = threading.Thread(target=server.serve_forever, args=(poll_seconds,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def in_turn(*answers: Answer) -> Callable[[Request], Answer]:
    """These answers one after the other, and the last one from then on."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def cutting_events(url: str) -> Callable[[Request], Answer]:
    """What the service at `url` answers to reads, but that streams of events break off behind their first part."""

    def answer(request: Request) -> Answer:
        with httpx.stream("GET", f"{url}{request.path}", timeout=30) as response:
            headers = {"content-type": response.headers["content-type"]}
            if request.path.endswith("/events"):
                return Answer(response.status_code, headers, next(response.iter_bytes()), length=1 << 20)
            return Answer(response.status_code, headers, response.read())

    return answer
