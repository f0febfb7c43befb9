"""The worker and what it keeps: through shutdowns, a database that is away, and changing indexes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from attribution.errors import ModelError, RecipeMismatchError
from catalog.database import Database
from catalog.records import IndexRecord
from catalog.repositories import IndexRepository, QueryRepository
from service import worker
from service.app import create_app
from service.engines import Engines
from tests.service.asking import ask, until

if TYPE_CHECKING:
    from service.settings import ServiceSettings
    from tests.service.conftest import Corpus


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
    until(lambda: "the query worker goes on after an error" in caplog.text)
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


def test_a_query_that_keeps_ending_the_service_is_given_up(settings: ServiceSettings, corpus: Corpus) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        queries = QueryRepository(session)
        fields = {"prompt": "a square", "video_sha256": "0" * 64, "k": 1}
        index = IndexRepository(session).get("tiny")
        poison = queries.create(index, video_path=str(corpus.video("up-red")), **fields)
        for _ in range(2):  # two processes have died of it
            queries.claim_next()
            queries.requeue_running()
        queries.claim_next()  # and so has the third
    database.close()
    with TestClient(create_app(settings)) as client:
        query = until(lambda: (found := client.get(f"/v1/queries/{poison.id}").json())["status"] == "failed" and found)
    assert query["error"]["code"] == "cut_off"


def test_an_answer_that_cannot_be_stored_is_not_computed_for_ever(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    database = Database.open(settings.url)
    with database.writing() as session:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER broken BEFORE UPDATE OF result ON queries BEGIN INSERT INTO nowhere VALUES (1); END"
        )
    database.close()
    query = ask(client, corpus.video("still")).json()
    assert (query["status"], query["error"]["code"]) == ("failed", "cut_off")


def test_an_error_without_a_message_is_still_a_trouble(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("service.engines.load_engine", load)
    engines = Engines("cpu", corpus.home / "bases")
    engines.warm(index_record(corpus))
    assert engines.trouble(index_record(corpus)) == "MemoryError"
