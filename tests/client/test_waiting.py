"""Waiting for queries: events, and what the client does without them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from motiontrace.client import Client, ServiceError
from motiontrace.service.app import Server, create_app
from tests.service.scripted import answering, cutting_events
from tests.service.serving import running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.documents.queries import Query
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

MOVES = ("queued", "running", "loading", "decoding", "motion", "gradient", "scoring", "done")


@pytest.fixture
def idle_url(settings: ServiceSettings) -> Iterator[str]:
    """A service whose queries wait for a worker that never comes."""
    with running(Server(create_app(settings, worker=False), host="127.0.0.1", port=0)) as url:
        yield url


def test_progress_is_heard_in_order(url: str, corpus: Corpus) -> None:
    heard: list[Query] = []
    with Client(url) as service:
        answer = service.ask(corpus.video("up-red"), "a square", on_event=heard.append)
    names = [query.stage or query.status for query in heard]
    assert names == sorted(names, key=MOVES.index)
    assert (names[0], heard[0].place) == ("queued", 1)
    assert heard[-1] == answer


def test_events_go_on_until_the_query_has_ended(url: str, corpus: Corpus, slow_answers: None) -> None:
    with Client(url) as service:
        asked = service.submit(corpus.video("up-red"), "a square")
        events = list(service.events(asked.id))
        assert events[-1] == ("done", service.query(asked.id))
        assert {query.id for _, query in events} == {asked.id}
        assert len(events) > 1
        assert [name for name, _ in service.events(asked.id)] == ["done"]
        with pytest.raises(ServiceError, match="no query 'nobody'"):
            next(service.events("nobody"))


def test_a_wait_outlasts_an_event_stream_that_breaks_off(url: str, corpus: Corpus, slow_answers: None) -> None:
    heard: list[Query] = []
    with Client(url) as service:
        asked = service.submit(corpus.video("up-red"), "a square")
    with answering(cutting_events(url)) as (broken, requests), Client(broken) as service:
        with pytest.raises(ServiceError, match="broke off"):
            list(service.events(asked.id))
        assert service.wait(asked, on_event=heard.append).status == "done"
        assert heard[-1].status == "done"
        read = [request.path for request in requests]
        assert f"/v1/queries/{asked.id}" in read
        assert f"/v1/queries/{asked.id}/events" in read


def test_a_cancelled_query_ends_its_wait(idle_url: str, corpus: Corpus) -> None:
    with Client(idle_url) as service:
        asked = service.submit(corpus.video("up-red"), "a square")
        cancel = threading.Timer(0.5, service.delete, [asked.id])
        cancel.start()
        assert service.wait(asked, timeout=20).status == "cancelled"
        cancel.join()
        assert service.query(asked.id).status == "cancelled"
        service.delete(asked.id)
        with pytest.raises(ServiceError, match="no query"):
            service.query(asked.id)


def test_a_wait_ends_with_its_time_though_the_stream_is_silent(idle_url: str, corpus: Corpus) -> None:
    with Client(idle_url) as service:
        asked = service.submit(corpus.video("up-red"), "a square")
        started = time.monotonic()
        with pytest.raises(ServiceError, match=rf"Query {asked.id} is still queued after 1\.5 s"):
            service.wait(asked, timeout=1.5)
        assert 1.5 <= time.monotonic() - started < 4


def test_a_submitted_query_can_be_waited_for(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        query = service.submit(corpus.video("still"), "a square")
        assert service.wait(query).outcome == "no_motion"
        with pytest.raises(ServiceError, match="is still queued after 0 s"):
            service.wait(query.model_copy(update={"status": "queued"}), timeout=0)


def test_a_call_that_waits_has_that_much_longer(url: str, corpus: Corpus, slow_answers: None) -> None:
    with Client(url, timeout=0.5) as service:
        assert service.submit(corpus.video("up-red"), "a square", wait=20).status == "done"


def test_a_service_lost_while_waiting_is_told_with_the_query(settings: ServiceSettings, corpus: Corpus) -> None:
    with serving(settings) as (_, url), Client(url) as service:
        query = service.submit(corpus.video("still"), "a square")
    with (
        Client(url, retries=0) as service,
        pytest.raises(ServiceError, match=rf"waiting for query {query.id}: No answer from .*motiontrace serve"),
    ):
        service.wait(query.model_copy(update={"status": "queued"}))
