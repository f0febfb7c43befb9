"""What operators see: request ids, log lines, metrics."""

from __future__ import annotations

import io
import json
import logging
import socket
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import open_index, withdraw
from motiontrace.catalog.repositories.keys import ApiKeyRepository
from motiontrace.service.app import Server, create_app
from motiontrace.service.observability.logs import configure_logging
from motiontrace.service.observability.metrics import Metrics
from motiontrace.service.observability.stock import Stock
from motiontrace.service.settings import ServiceSettings
from tests.processes import start_command
from tests.service.asking import ask, assert_problem, until
from tests.service.serving import running, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.service.conftest import Corpus


@pytest.fixture
def log_to() -> Iterator[Callable[[ServiceSettings], io.StringIO]]:
    """Configures logging; gives what takes the lines. The process's logging is put back afterwards."""
    loggers = [logging.getLogger(), *map(logging.getLogger, ("motiontrace", "uvicorn"))]
    before = [(logger, logger.level, logger.handlers) for logger in loggers]

    def configure(settings: ServiceSettings) -> io.StringIO:
        with redirect_stderr(io.StringIO()) as stream:
            configure_logging(settings)
        return stream

    yield configure
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers
    logging.captureWarnings(False)


@pytest.fixture
def lines(log_to: Callable[[ServiceSettings], io.StringIO], tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """What has been logged as JSON until now."""
    stream = log_to(ServiceSettings(home=tmp_path, log_format="json"))
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def accesses(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["logger"] == "motiontrace.service.observability.requests"]


def values(metrics: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }


# Request ids.


def test_a_callers_request_id_is_answered_and_told_in_errors(reader: TestClient) -> None:
    response = reader.get("/v1/clips/none", headers={"X-Request-ID": "trace-1/a.b"})
    assert response.headers["x-request-id"] == "trace-1/a.b"
    assert assert_problem(response, 404, "clip_not_found")["request_id"] == "trace-1/a.b"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "a\tb"])
def test_an_id_that_is_not_sane_is_replaced(reader: TestClient, given: str) -> None:
    response = reader.get("/healthz", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert len(response.headers["x-request-id"]) == 32
    assert response.headers["x-request-id"].isalnum()


def test_every_request_has_an_id_of_its_own(reader: TestClient) -> None:
    ids = {reader.get("/healthz").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_an_unexpected_error_has_its_requests_id_and_is_logged_once(
    settings: ServiceSettings, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    app = create_app(settings)

    def broken() -> None:
        logging.getLogger("motiontrace.service.broken").info("inside")
        raise RuntimeError("a fault of ours")

    app.add_api_route("/broken", broken)
    with running(Server(app, host="127.0.0.1", port=0)) as url:
        response = httpx.get(f"{url}/broken?key=secret", headers={"X-Request-ID": "abc"})
    assert assert_problem(response, 500, "internal_error")["request_id"] == "abc"
    assert response.headers["x-request-id"] == "abc"
    about = [line for line in lines() if line["request_id"] == "abc"]
    # The endpoint ran in a thread of the server's pool.
    assert [(line["logger"], line["level"]) for line in about] == [
        ("motiontrace.service.broken", "INFO"),
        ("motiontrace.service.problem", "ERROR"),
        ("motiontrace.service.observability.requests", "INFO"),
    ]
    assert "a fault of ours" in about[1]["traceback"]
    assert sum("a fault of ours" in json.dumps(line) for line in lines()) == 1


# Log lines.


def test_each_request_is_one_line_without_what_is_secret(
    settings: ServiceSettings, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    with serving(settings) as (_, url):
        httpx.get(f"{url}/v1/clips/up-red?token=hidden", headers={"Authorization": "Bearer mt_id_hidden"})
        httpx.get(f"{url}/nowhere%0Afaked?token=hidden")
    known, unknown = accesses(lines())
    assert (known["method"], known["path"], known["status"]) == ("GET", "/v1/clips/{clip_id}", 200)
    assert known["client"] == "127.0.0.1"
    assert known["key_id"] is None
    assert 0 < known["duration_ms"] < 10_000
    assert known["time"].endswith("Z")
    assert known["message"] == "GET /v1/clips/{clip_id} 200"
    assert (unknown["path"], unknown["status"]) == ("/nowhere%0Afaked", 404)
    assert "hidden" not in json.dumps(lines())
    assert not [line for line in lines() if line["logger"] == "uvicorn.access"]
    assert [line for line in lines() if line["logger"] == "uvicorn.error"], "the server's own lines come too"


def test_a_line_names_the_key_and_not_its_secret(
    settings: ServiceSettings, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        key, token = ApiKeyRepository(session).create("alice", ["read"])
    database.close()
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/indexes", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert client.get("/v1/indexes").status_code == 401
    known, refused = accesses(lines())
    assert (known["path"], known["status"], known["key_id"]) == ("/v1/indexes", 200, key.id)
    assert (refused["path"], refused["status"], refused["key_id"]) == ("/v1/indexes", 401, None)
    assert token.secret not in json.dumps(lines())


def test_text_lines_are_for_people(log_to: Callable[[ServiceSettings], io.StringIO], settings: ServiceSettings) -> None:
    stream = log_to(settings)
    with TestClient(create_app(settings)) as client:
        client.get("/v1/indexes", headers={"X-Request-ID": "abc"})
    told = [line for line in stream.getvalue().splitlines() if "/v1/indexes" in line]
    assert len(told) == 1
    assert told[0].split(" ", 1)[1] == "INFO motiontrace.service.observability.requests: GET /v1/indexes 200 [abc]"


def test_what_machines_ask_every_few_seconds_is_told_only_where_it_fails(
    log_to: Callable[[ServiceSettings], io.StringIO], settings: ServiceSettings
) -> None:
    stream = log_to(settings)
    with TestClient(
        create_app(settings.model_copy(update={"home": settings.home / "empty"})),
    ) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
    told = stream.getvalue()
    assert "GET /healthz" not in told
    assert "GET /readyz 503" in told


def test_the_level_is_ours_alone(log_to: Callable[[ServiceSettings], io.StringIO], settings: ServiceSettings) -> None:
    stream = log_to(settings.model_copy(update={"log_level": "debug"}))
    logging.getLogger("motiontrace.service.any").debug("ours")
    logging.getLogger("python_multipart.multipart").debug("a form's data")
    logging.getLogger("httpx").info("https://host/?signature=secret")
    logging.getLogger("httpx").warning("a library's warning")
    assert "ours" in stream.getvalue()
    assert "a library's warning" in stream.getvalue()
    assert "form" not in stream.getvalue()
    assert "secret" not in stream.getvalue()


# Metrics.


def test_requests_are_counted_by_route_not_by_path(settings: ServiceSettings) -> None:
    with TestClient(create_app(settings)) as client, TestClient(create_app(settings)) as other:
        client.get("/v1/clips/up-red")
        client.get("/v1/clips/left-red")
        client.get("/v1/clips/none")
        client.get("/a/b/c")
        client.request("BREW", "/v1/clips/up-red")
        found, others = values(client.get("/metrics").text), values(other.get("/metrics").text)
    count = "motiontrace_http_request_seconds_count"
    requests = {key[1:]: value for key, value in found.items() if key[0] == count}
    assert requests == {
        ("GET", "/v1/clips/{clip_id}", "200"): 2,
        ("GET", "/v1/clips/{clip_id}", "404"): 1,
        ("GET", "unmatched", "404"): 1,
        ("OTHER", "/v1/clips/{clip_id}", "405"): 1,
    }
    assert not [key for key in others if key[0] == count], "each app has metrics of its own"


def test_a_query_leaves_its_stages_and_its_end(client: TestClient, corpus: Corpus) -> None:
    assert ask(client, corpus.video("up-red")).json()["status"] == "done"
    assert ask(client, corpus.video("broken")).status_code == 422
    found = until(
        lambda: (now := values(client.get("/metrics").text)).get(("motiontrace_queries_ended_total", "done")) and now
    )
    stages = {key[1] for key in found if key[0] == "motiontrace_query_stage_seconds_count"}
    assert found["motiontrace_uploaded_bytes_total",] == corpus.video("up-red").stat().st_size
    assert {"waiting", "decoding", "motion", "gradient", "scoring"} <= stages
    assert found["motiontrace_queries_ended_total", "done"] == 1
    assert found["motiontrace_model_load_seconds", str(corpus.model)] > 0


def test_queue_and_indexes_are_read_when_they_are_asked_for(settings: ServiceSettings, corpus: Corpus) -> None:
    app = create_app(settings, worker=False)
    with TestClient(app) as client:
        empty = values(client.get("/metrics").text)
        assert empty["motiontrace_database_up",] == 1
        assert empty["motiontrace_index_clips", "tiny"] == 8
        assert (empty["motiontrace_queries", "queued"], empty["motiontrace_oldest_queued_seconds",]) == (0, 0)
        ask(client, corpus.video("up-red"), wait=0)
        ask(client, corpus.video("left-red"), wait=0)
        database = app.state.context.database
        index, store, _ = open_index(database, settings, "tiny", recipe=corpus.recipe, model=str(corpus.model))
        with store:
            withdraw(database, store, index, ["up-red"])
        later = values(client.get("/metrics").text)
    assert (later["motiontrace_queries", "queued"], later["motiontrace_queries", "running"]) == (2, 0)
    assert later["motiontrace_oldest_queued_seconds",] > 0
    assert later["motiontrace_index_clips", "tiny"] == 7


def test_metrics_are_told_without_the_database(settings: ServiceSettings) -> None:
    database, metrics = Database.open(settings.url), Metrics()
    metrics.add(Stock(database))
    metrics.ended("done")
    with database.writing() as session:
        session.execute(text("DROP TABLE queries"))
    found = values(metrics.text().decode())
    database.close()
    assert found["motiontrace_database_up",] == 0
    assert found["motiontrace_queries_ended_total", "done"] == 1
    assert ("motiontrace_index_clips", "tiny") not in found


def test_a_worker_without_an_api_serves_its_own(settings: ServiceSettings, corpus: Corpus, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"HOME": settings.home, "DEVICE": "cpu", "METRICS_PORT": port, "LOG_FORMAT": "json"}
    environment = {f"MOTIONTRACE_{name}": str(value) for name, value in variables.items()}
    output, log = tmp_path / "output", tmp_path / "log"
    process = start_command("worker", output=output, errors=log, **environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:  # one: each is made at some cost
            until(lambda: ("motiontrace_model_load_seconds", str(corpus.model)) in scraped(http), 60)
    finally:
        process.terminate()
        process.join(30)
    assert process.exitcode == 0
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert any("loaded in" in message for message in messages)


def scraped(http: httpx.Client) -> dict[tuple[str, ...], float]:
    try:
        return values(http.get("/metrics").text)
    except httpx.TransportError:
        return {}
