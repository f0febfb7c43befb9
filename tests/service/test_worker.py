"""The worker and what it keeps: through shutdowns, a database that is away, and changing indexes."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from motiontrace.answering.engines import Engines
from motiontrace.attribution.engine import load_engine
from motiontrace.attribution.errors import ModelError, RecipeMismatchError
from motiontrace.attribution.recipe import Recipe
from motiontrace.catalog.database import Database
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import IndexRepository, JobRepository, QueryRepository
from motiontrace.service.app import create_app
from motiontrace.service.settings import ServiceSettings
from motiontrace.service.worker import loop
from motiontrace.service.worker.housekeeping import clean_up
from tests.service.asking import ask, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.conftest import Corpus

BOTH_DATABASES = True


def index_record(corpus: Corpus, **changes: str) -> IndexRecord:
    fields = {"name": "one", "model": str(corpus.model), "recipe": corpus.recipe.to_json()}
    return IndexRecord(**{**fields, "recipe_digest": corpus.recipe.digest, **changes})


def test_an_engine_is_loaded_once_and_shared_by_indexes_of_the_same_recipe(corpus: Corpus) -> None:
    engines = Engines("cpu", corpus.home / "bases")
    first = index_record(corpus)
    assert engines.trouble(first) == "its model is being loaded"
    engine = engines.of(first)
    assert engines.of(first) is engine
    assert engines.of(index_record(corpus, name="two")) is engine
    assert engines.trouble(first) is None


def test_indexes_that_differ_in_what_was_measured_share_the_model(corpus: Corpus) -> None:
    plain = load_engine(str(corpus.model), corpus.recipe.unmeasured(), device="cpu")
    parameters = len(list(plain._model.denoiser.parameters()))
    normalised = Recipe.model_validate({**corpus.recipe.model_dump(), "gradient_normalisation": "tensors"})
    engines, found = Engines("cpu", corpus.home / "bases"), []
    for scale in (0.5, 2.0):
        recipe = normalised.with_gradient_scales((scale,) * parameters)
        found.append(engines.of(index_record(corpus, recipe=recipe.to_json(), recipe_digest=recipe.digest)))
    assert found[0]._model is found[1]._model
    assert [engine.recipe.gradient_scales[0] for engine in found if engine.recipe.gradient_scales] == [0.5, 2.0]


def test_a_model_that_cannot_be_loaded_is_remembered_with_its_reason(corpus: Corpus) -> None:
    engines = Engines("cpu", corpus.home / "bases")
    lost = index_record(corpus, model="/nowhere/model")
    engines.warm(lost)
    assert "/nowhere/model" in (engines.trouble(lost) or "")
    with pytest.raises(ModelError):
        engines.of(lost)


def test_a_recipe_of_another_version_is_refused_with_the_indexs_name(corpus: Corpus) -> None:
    newer = json.dumps({**json.loads(corpus.recipe.to_json()), "version": 99})
    with pytest.raises(RecipeMismatchError, match="the index 'one' is not one that this version"):
        Engines("cpu", corpus.home / "bases").of(index_record(corpus, recipe=newer))


def test_queries_outlive_a_shutdown(settings: ServiceSettings, corpus: Corpus) -> None:
    with TestClient(create_app(settings)) as client:
        asked = [ask(client, corpus.video("up-red"), wait=0).json()["id"] for _ in range(5)]
        client.app.state.stopping.set()  # type: ignore[attr-defined]
    database = Database.open(settings.url)
    with database.reading() as session:
        assert QueryRepository(session).page(status="queued").items
    database.close()
    with TestClient(create_app(settings)) as client:
        for query_id in asked:
            until(lambda query_id=query_id: client.get(f"/v1/queries/{query_id}").json()["status"] == "done")


def test_the_worker_outlives_a_database_that_fails(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        session.connection().exec_driver_sql("ALTER TABLE queries RENAME TO away")
    told = "the database does not answer" if settings.database_url is None else "goes on after an error"
    until(lambda: told in caplog.text)
    with database.writing() as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO queries")
    database.close()
    assert ask(client, corpus.video("up-red")).json()["status"] == "done"


def test_queries_sent_at_once_are_each_answered_once(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    def send(number: int) -> str:
        query: dict[str, str] = ask(client, corpus.video("still"), prompt=str(number)).json()
        assert (query["status"], query["prompt"]) == ("done", str(number))
        return query["id"]

    with ThreadPoolExecutor(5) as pool:
        asked = set(pool.map(send, range(10)))
    database = Database.open(settings.url)
    with database.reading() as session:
        claims = {query.id: query.attempts for query in QueryRepository(session).page().items}
    database.close()
    assert claims == dict.fromkeys(asked, 1)


def queue_query(settings: ServiceSettings, corpus: Corpus, name: str = "up-red") -> str:
    """Put a query in the queue as the API does; gives its id."""
    with opened(settings) as database, database.writing() as session:
        fields = {"prompt": "a square", "video_path": str(corpus.video(name)), "video_sha256": name.ljust(64, "0")}
        return QueryRepository(session).create(IndexRepository(session).get("tiny"), **fields, k=1).id


@contextmanager
def opened(settings: ServiceSettings) -> Iterator[Database]:
    database = Database.open(settings.url)
    try:
        yield database
    finally:
        database.close()


def claim(database: Database, seconds: float) -> None:
    with database.writing() as session:
        assert JobRepository(session).claim_next("killed", seconds)


def test_a_query_whose_worker_was_killed_is_taken_over(settings: ServiceSettings, corpus: Corpus) -> None:
    asked = queue_query(settings, corpus)
    with opened(settings) as database:
        claim(database, 0.5)
    with TestClient(create_app(settings)) as client:
        query = until(lambda: (found := client.get(f"/v1/queries/{asked}").json())["status"] == "done" and found)
    assert query["timings"]["waiting"] > 0
    with opened(settings) as database, database.reading() as session:
        record = QueryRepository(session).get(asked)
    assert record is not None
    assert record.attempts == 2


def test_a_query_that_keeps_ending_workers_is_given_up(settings: ServiceSettings, corpus: Corpus) -> None:
    poison = queue_query(settings, corpus)
    with opened(settings) as database:
        for _ in range(3):
            claim(database, 0.0)
            time.sleep(0.002)
    with TestClient(create_app(settings)) as client:
        query = until(lambda: (found := client.get(f"/v1/queries/{poison}").json())["status"] == "failed" and found)
    assert query["error"]["code"] == "cut_off"


def test_a_lease_is_kept_while_the_work_goes_on(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = settings.model_copy(update={"lease_seconds": 1.2})
    real, began = loop.answer, threading.Event()

    def slow(*arguments: Any) -> Any:
        began.set()
        time.sleep(2.6)  # two leases long
        return real(*arguments)

    monkeypatch.setattr(loop, "answer", slow)
    with TestClient(create_app(short)) as client, opened(settings) as database:
        sent = ask(client, corpus.video("up-red"), wait=0).json()["id"]
        assert began.wait(20)
        end = time.monotonic() + 2.4
        while time.monotonic() < end:
            with database.reading() as session:
                assert not JobRepository(session).waiting()
            time.sleep(0.05)
        until(lambda: client.get(f"/v1/queries/{sent}").json()["status"] == "done")


def test_a_query_that_is_cancelled_at_work_stays_cancelled(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, began, go = loop.answer, threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        began.set()
        assert go.wait(20)
        return real(*arguments)

    monkeypatch.setattr(loop, "answer", held)
    with TestClient(create_app(settings)) as client:
        sent = ask(client, corpus.video("up-red"), wait=0).json()["id"]
        assert began.wait(20)
        assert client.delete(f"/v1/queries/{sent}").status_code == 204
        go.set()
        monkeypatch.setattr(loop, "answer", real)
        assert ask(client, corpus.video("up-red")).json()["status"] == "done"  # the worker goes on
        assert client.get(f"/v1/queries/{sent}").json()["status"] == "cancelled"


def test_an_unexpected_error_is_tried_again_and_then_told(
    client: TestClient, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def broken(*arguments: Any) -> Any:
        tried.append(1)
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(loop, "answer", broken)
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.01)
    query = ask(client, corpus.video("up-red")).json()
    assert (query["status"], query["error"]["code"], len(tried)) == ("failed", "internal_error", 3)
    until(lambda: 'motiontrace_queries_ended_total{status="failed"} 1.0' in client.get("/metrics").text)


def test_an_error_that_passes_costs_nothing(
    client: TestClient, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, errors = loop.answer, [RuntimeError("CUDA out of memory")]

    def once(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return real(*arguments)

    monkeypatch.setattr(loop, "answer", once)
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.01)
    query = ask(client, corpus.video("up-red")).json()
    assert (query["status"], query["error"]) == ("done", None)


def test_an_answer_that_cannot_be_stored_is_not_computed_for_ever(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.01)
    with opened(settings) as database, database.writing() as session:
        if settings.database_url is None:  # SQLite adds no check to a table that is there
            session.connection().exec_driver_sql(
                "CREATE TRIGGER broken BEFORE UPDATE OF result ON queries WHEN new.result IS NOT NULL "
                "BEGIN INSERT INTO nowhere VALUES (1); END"
            )
        else:
            session.connection().exec_driver_sql("ALTER TABLE queries ADD CHECK (result IS NULL)")
    query = ask(client, corpus.video("still")).json()
    code = "database_unavailable" if settings.database_url is None else "internal_error"
    assert (query["status"], query["error"]["code"]) == ("failed", code)


def test_the_same_video_and_prompt_take_the_stored_gradient(client: TestClient, corpus: Corpus) -> None:
    first = ask(client, corpus.video("up-red"), "a square").json()
    again = ask(client, corpus.video("up-red"), "a square", k=3).json()
    other = ask(client, corpus.video("up-red"), "another prompt").json()
    still, still_again = (ask(client, corpus.video("still"), "a square").json() for _ in range(2))
    assert (first["gradient_of"], again["gradient_of"], other["gradient_of"]) == (None, first["id"], None)
    assert again["timings"].keys() == {"waiting", "scoring"}
    assert again["top"] == first["top"][:3]
    assert (again["motion"], again["video"]) == (first["motion"], first["video"])
    assert still_again["gradient_of"] == still["id"]
    assert (still_again["outcome"], still_again["message"]) == ("no_motion", still["message"])


def test_two_workers_share_one_queue(settings: ServiceSettings, corpus: Corpus) -> None:
    with ExitStack() as stack:
        clients = []
        for _ in range(2):  # one after the other: diffusers does not load two models at once in one process
            client = stack.enter_context(TestClient(create_app(settings)))
            until(lambda client=client: client.get("/readyz").status_code == 200)
            clients.append(client)
        asked = [queue_query(settings, corpus, name) for name in ("up-red", "down-red", "left-red", "right-red") * 3]
        for number, query_id in enumerate(asked):
            client = clients[number % 2]
            until(
                lambda client=client, query_id=query_id: (
                    client.get(f"/v1/queries/{query_id}").json()["status"] == "done"
                )
            )
    with opened(settings) as database, database.reading() as session:
        claims = {query.id: query.attempts for query in QueryRepository(session).page().items}
    assert claims == dict.fromkeys(asked, 1)


def test_old_videos_are_removed_and_answers_kept(settings: ServiceSettings, corpus: Corpus) -> None:
    with TestClient(create_app(settings)) as client:
        old = ask(client, corpus.video("up-red")).json()["id"]
        assert len(videos(settings)) == 1
    with TestClient(create_app(settings.model_copy(update={"keep_uploads_days": 0}))) as client:
        until(lambda: not videos(settings))
        assert len(client.get(f"/v1/queries/{old}").json()["top"]) == 8
        assert client.get(f"/v1/queries/{old}/clips").json()["ranked"] == 8


@pytest.mark.parametrize("setting", ["keep_uploads_days", "lease_seconds"])
@pytest.mark.parametrize("value", [1e6, 1e300, float("inf")])
def test_times_that_no_date_can_hold_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValidationError, match=f"{setting}\n.* less than or equal to"):
        ServiceSettings.model_validate({setting: value})


def test_old_queries_are_forgotten_with_their_videos(settings: ServiceSettings, corpus: Corpus) -> None:
    with TestClient(create_app(settings)) as client:
        old = ask(client, corpus.video("up-red")).json()["id"]
        clip = client.post("/v1/queries", json={"clip": "up-red"}).json()["id"]
    waiting = queue_query(settings, corpus)
    with opened(settings) as database:
        clean_up(database, settings.model_copy(update={"keep_queries_days": 1.0}))
        assert {old, clip, waiting} == stored(database)
        clean_up(database, settings.model_copy(update={"keep_queries_days": 0.0}))
        assert stored(database) == {waiting}
    assert videos(settings) == []


def stored(database: Database) -> set[str]:
    with database.reading() as session:
        return {query.id for query in QueryRepository(session).page().items}


def videos(settings: ServiceSettings) -> list[Path]:
    return list(settings.upload_directory.glob("*/The upload"))


def test_an_error_without_a_message_is_still_a_trouble(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("motiontrace.attribution.engine.load_engine", load)
    engines = Engines("cpu", corpus.home / "bases")
    engines.warm(index_record(corpus))
    assert engines.trouble(index_record(corpus)) == "MemoryError"
