"""What a signal does to calls and queries under way."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.client import Client
from motiontrace.service.worker import loop
from tests.service.serving import serving

if TYPE_CHECKING:
    from motiontrace.catalog.records import QueryRecord
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True


class Held:
    """Holds the worker at the beginning of its answer, until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        real = loop.answer

        def answer(*arguments: Any) -> Any:
            self.reached.set()
            assert self.go.wait(20)
            return real(*arguments)

        monkeypatch.setattr(loop, "answer", answer)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


def test_at_a_signal_waiting_calls_are_answered_and_the_query_is_given_back(
    settings: ServiceSettings, corpus: Corpus, held: Held
) -> None:
    with serving(settings) as (server, url), Client(url) as service, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.submit, corpus.video("up-red"), "a square", wait=30)
        assert held.reached.wait(20)
        queued = service.submit(corpus.video("up-red"), "another")
        started = time.monotonic()
        server.handle_exit(signal.SIGTERM, None)
        assert waiting.result().status == "running"
        assert time.monotonic() - started < 5
        held.go.set()
    for query_id in (waiting.result().id, queued.id):
        left = read(settings, query_id)
        assert (left.status, left.attempts, left.stage) == ("queued", 0, None)


def test_a_query_that_outlasts_the_shutdown_is_given_back(
    settings: ServiceSettings, corpus: Corpus, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.service.app.SHUTDOWN_SECONDS", 0.1)
    with serving(settings) as (_, url), Client(url) as service:
        asked = service.submit(corpus.video("up-red"), "a square")
        assert held.reached.wait(20)
    assert (read(settings, asked.id).status, read(settings, asked.id).attempts) == ("queued", 0)
    held.go.set()


def read(settings: ServiceSettings, query_id: str) -> QueryRecord:
    database = Database.open(settings.url)
    with database.reading() as session:
        query = QueryRepository(session).get(query_id)
    database.close()
    assert query is not None
    return query
