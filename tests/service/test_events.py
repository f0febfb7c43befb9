"""The progress of a query, as a browser's EventSource gets it."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy.exc import OperationalError

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.service.queries import following
from motiontrace.service.worker import loop
from tests.service.asking import ask, assert_problem, until
from tests.service.keys import make_key
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from fastapi.testclient import TestClient
    from sqlalchemy.orm import Session

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True


def events(url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, read until the service ends it."""
    with httpx.stream("GET", url, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def send(url: str, corpus: Corpus, prompt: str = "a square") -> str:
    with corpus.video("up-red").open("rb") as file:
        response = httpx.post(f"{url}/v1/queries", files={"video": file}, data={"prompt": prompt})
    identifier: str = response.json()["id"]
    return identifier


class Steps:
    """Lets the worker take one stage at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._allowed = threading.Semaphore(0)
        real = loop.Heartbeat.begin

        def begin(heartbeat: loop.Heartbeat, stage: str) -> None:
            real(heartbeat, stage)
            assert self._allowed.acquire(timeout=20)

        monkeypatch.setattr(loop.Heartbeat, "begin", begin)

    def go_on(self, steps: int = 1) -> None:
        self._allowed.release(steps)


def test_every_stage_is_told_once_and_the_end_ends_the_stream(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    with serving(settings) as (_, url):
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        heard = []
        for name, query in events(f"{url}/v1/queries/{send(url, corpus)}/events"):
            heard.append(name)
            if name in ("decoding", "motion", "gradient", "scoring"):
                assert (query["status"], query["stage"]) == ("running", name)
                steps.go_on()
        assert [name for name in heard if name not in ("queued", "loading")] == [
            "decoding",
            "motion",
            "gradient",
            "scoring",
            "done",
        ]
        assert query["top"]


def test_the_place_in_line_is_told_whenever_it_changes(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    with serving(settings) as (_, url):
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        running, second, third = (send(url, corpus, f"number {number}") for number in range(3))
        until(lambda: httpx.get(f"{url}/v1/queries/{running}").json()["status"] == "running")
        places = []
        for name, query in events(f"{url}/v1/queries/{third}/events"):
            if name == "queued":
                places.append(query["place"])
            if places == [2] and name == "queued":
                assert httpx.delete(f"{url}/v1/queries/{second}").status_code == 204
            elif places == [2, 1]:
                steps.go_on(100)
        assert places == [2, 1]
        assert name == "done"


def test_a_query_that_is_over_tells_its_end_at_once(client: TestClient, corpus: Corpus) -> None:
    query = ask(client, corpus.video("up-red")).json()
    body = client.get(f"/v1/queries/{query['id']}/events").text
    assert body.count("event: ") == 1
    assert body.startswith("event: done\n")
    assert json.loads(body.split("data: ")[1]) == query


def test_a_cancelled_query_ends_the_stream(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    with serving(settings) as (_, url):
        query_id = send(url, corpus)
        names = []
        for name, _ in events(f"{url}/v1/queries/{query_id}/events"):
            if not names:
                httpx.delete(f"{url}/v1/queries/{query_id}")
            names.append(name)
        assert names[-1] == "cancelled"
        steps.go_on(100)


def test_the_end_of_the_service_ends_the_stream(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        with serving(settings) as (server, url):
            heard: list[tuple[str, dict[str, Any]]] = []
            stream = pool.submit(
                lambda path: heard.extend(events(url + path)), f"/v1/queries/{send(url, corpus)}/events"
            )
            until(lambda: heard)
            started = time.monotonic()
            server.handle_exit(15, None)
            stream.result(10)
            assert time.monotonic() - started < 5
            steps.go_on(100)
        assert heard
        assert heard[-1][0] not in ("done", "failed")


def test_an_unknown_query_has_no_events(reader: TestClient) -> None:
    assert_problem(reader.get("/v1/queries/none/events"), 404, "query_not_found")


def test_all_who_follow_share_one_look(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    looks = 0
    real = QueryRepository.states

    def counted(queries: QueryRepository, query_ids: list[str]) -> Any:
        nonlocal looks
        looks += 1
        return real(queries, query_ids)

    monkeypatch.setattr(QueryRepository, "states", counted)
    with serving(settings) as (_, url), ExitStack() as stack, httpx.Client(limits=httpx.Limits()) as client:
        query_id = send(url, corpus)
        until(lambda: httpx.get(f"{url}/v1/queries/{query_id}").json()["stage"] is not None)
        streams = []
        for _ in range(40):
            response = stack.enter_context(client.stream("GET", f"{url}/v1/queries/{query_id}/events", timeout=30))
            streams.append(response.iter_lines())
        assert all(next(stream).startswith("event: ") for stream in streams)
        looks, started = 0, time.monotonic()
        time.sleep(1.0)
        assert looks <= (time.monotonic() - started) / following.LOOK_SECONDS
        steps.go_on(100)
        for stream in streams:
            assert [line for line in stream if line.startswith("event: ")][-1] == "event: done"


def test_a_key_may_hold_so_many_streams_and_no_more(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    settings = settings.model_copy(update={"max_streams": 3})
    keys = [{"Authorization": make_key(settings, "query")[1]} for _ in range(2)]
    with serving(settings) as (_, url), httpx.Client(headers=keys[0], timeout=30) as client:
        with corpus.video("up-red").open("rb") as file:
            asked = client.post(f"{url}/v1/queries", files={"video": file}, data={"prompt": "a square"}).json()
        path = f"{url}/v1/queries/{asked['id']}/events"
        with ExitStack() as stack:
            held = [stack.enter_context(client.stream("GET", path)) for _ in range(3)]
            assert [response.status_code for response in held] == [200] * 3
            refused = client.get(path)
            problem = assert_problem(refused, 429, "too_many_streams")
            assert "3 event streams" in problem["detail"]
            assert int(refused.headers["retry-after"]) > 0
            assert stack.enter_context(client.stream("GET", path, headers=keys[1])).status_code == 200

        def again() -> bool:
            with client.stream("GET", path) as response:
                return response.status_code == 200

        until(again)
        steps.go_on(100)


def test_streams_and_waits_go_on_after_the_database_was_away(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("motiontrace.service.queries.following.AWAY_SECONDS", 0.1)
    steps, away = Steps(monkeypatch), threading.Event()
    real = Database.reading

    @contextmanager
    def reading(database: Database) -> Iterator[Session]:
        with database._answering():
            if away.is_set():
                raise OperationalError("SELECT", {}, sqlite3.OperationalError("the file is not there"))
            with real(database) as session:
                yield session

    monkeypatch.setattr(Database, "reading", reading)
    with serving(settings) as (_, url):
        query_id = send(url, corpus)
        heard = []
        for name, _ in events(f"{url}/v1/queries/{query_id}/events"):
            heard.append(name)
            if name == "decoding":
                away.set()
                time.sleep(1.0)
                away.clear()
                steps.go_on(100)
        assert heard[-1] == "done"
        name = str(settings.home) if settings.database_url is None else settings.database_url.partition("@/")[2]
        name = name.partition("?")[0]
        assert sum(name in message and "not answer" in message for message in caplog.messages) == 1
