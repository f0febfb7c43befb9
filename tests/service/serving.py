"""The service on a real socket."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from motiontrace.service.app import Server, create_app
from tests.service.asking import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings


@contextmanager
def serving(settings: ServiceSettings) -> Iterator[tuple[Server, str]]:
    """A running server and its URL."""
    server = Server(create_app(settings), host="127.0.0.1", port=0)
    with running(server) as url:
        yield server, url


@contextmanager
def running(server: Server) -> Iterator[str]:
    """Runs the server; gives its URL."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started and server.servers)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
