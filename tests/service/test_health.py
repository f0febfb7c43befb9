"""Alive, and ready or why not."""

from __future__ import annotations

import os
import sqlite3
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text, update

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import QueryRecord, now
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.vectors import Searcher
from motiontrace.service.app import create_app
from motiontrace.service.places import without_places
from motiontrace.service.settings import ServiceSettings
from tests.service.asking import ask, assert_problem, until
from tests.service.conftest import index_corpus
from tests.service.keys import make_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import Corpus


def test_the_service_is_ready_once_a_model_is_loaded(reader: TestClient) -> None:
    assert reader.get("/healthz").json() == {"status": "ok"}
    until(lambda: reader.get("/readyz").status_code == 200)
    assert reader.get("/readyz").json() == {"status": "ready", "indexes": {"tiny": None}}


def test_without_an_index_it_is_alive_but_not_ready(tmp_path: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        assert client.get("/healthz").status_code == 200
        problem = assert_problem(client.get("/readyz"), 503, "not_ready")
        assert "There is no index yet" in problem["detail"]


def test_a_missing_model_is_named(settings: ServiceSettings) -> None:
    change_model(settings, "/nowhere/model")
    with TestClient(create_app(settings)) as client:
        problem = until(lambda: "…/model" in (found := client.get("/readyz").json())["detail"] and found)
        assert problem["status"] == 503
        assert problem["errors"][0]["field"] == "index tiny"


def test_missing_vectors_are_named(settings: ServiceSettings) -> None:
    (settings.index_directory / "tiny" / "manifest.json").unlink()
    with TestClient(create_app(settings)) as client:
        problem = until(lambda: "being opened" not in (found := client.get("/readyz").json())["detail"] and found)
        assert problem["status"] == 503
        assert "manifest.json is missing" in problem["detail"]


def test_readiness_is_told_while_vectors_are_being_opened(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = threading.Event(), Searcher.open

    def slow(*arguments: Any) -> Searcher:
        assert opened.wait(20)
        return real(*arguments)

    monkeypatch.setattr(Searcher, "open", slow)
    with TestClient(create_app(settings)) as client:
        problem = assert_problem(client.get("/readyz"), 503, "not_ready")
        assert "its vectors are being opened" in problem["detail"]
        opened.set()
        until(lambda: client.get("/readyz").status_code == 200)


def test_an_api_without_a_worker_is_ready_without_a_model(settings: ServiceSettings) -> None:
    change_model(settings, "/nowhere/model")
    with TestClient(create_app(settings, worker=False)) as client:
        until(lambda: client.get("/readyz").status_code == 200)


def test_a_queue_that_nobody_works_on_is_told(settings: ServiceSettings, corpus: Corpus) -> None:
    app = create_app(settings, worker=False)
    with TestClient(app) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        ask(client, corpus.video("up-red"), wait=0)
        assert client.get("/readyz").status_code == 200, "it has only just been sent"
        with app.state.context.database.writing() as session:
            session.execute(update(QueryRecord).values(created_at=now() - timedelta(minutes=2)))
        problem = assert_problem(client.get("/readyz"), 503, "not_ready")
        assert [error["field"] for error in problem["errors"]] == ["queue"]
        assert "motiontrace worker" in problem["detail"]


def test_every_reason_is_told_at_once(tmp_path: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path, max_upload_bytes=1 << 60))) as client:
        problem = assert_problem(client.get("/readyz"), 503, "not_ready")
        assert [error["field"] for error in problem["errors"]] == ["disk", "index"]
        assert "make room" in problem["detail"]


def test_why_it_is_not_ready_is_told_to_keys_only(settings: ServiceSettings) -> None:
    change_model(settings, "/nowhere/model")
    key = {"Authorization": make_key(settings, "read")[1]}
    with TestClient(create_app(settings)) as client:
        until(lambda: "…/model" in client.get("/readyz", headers=key).json()["detail"])
        for headers in ({}, {"Authorization": "Bearer mt_made_up"}):
            answer = client.get("/readyz", headers=headers)
            problem = assert_problem(answer, 503, "not_ready")
            assert [error["field"] for error in problem["errors"]] == ["index"]
            assert "/nowhere" not in answer.text and "tiny" not in answer.text


def test_an_index_out_of_order_beside_one_that_answers_is_told_without_its_place(
    settings: ServiceSettings, corpus: Corpus
) -> None:
    index_corpus(corpus, settings, "second")
    change_model(settings, "/nowhere/model")
    with TestClient(create_app(settings)) as client:
        answer = until(lambda: (found := client.get("/readyz")).status_code == 200 and found)
        assert answer.json()["indexes"]["second"] is None
        assert "…/model" in answer.json()["indexes"]["tiny"]
        assert "/nowhere" not in answer.text


def test_the_names_of_indexes_are_told_to_keys_only(settings: ServiceSettings) -> None:
    key = {"Authorization": make_key(settings, "query")[1]}
    with TestClient(create_app(settings)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/readyz").json() == {"status": "ready", "indexes": {}}
        assert client.get("/readyz", headers=key).json() == {"status": "ready", "indexes": {"tiny": None}}


def test_a_database_that_does_not_answer_is_told(settings: ServiceSettings) -> None:
    app = create_app(settings, worker=False)
    with TestClient(app) as client:
        with app.state.context.database.writing() as session:
            session.execute(text("DROP TABLE entries"))
            session.execute(text("DROP TABLE queries"))
        problem = assert_problem(client.get("/readyz"), 503, "not_ready")
        assert [error["field"] for error in problem["errors"]] == ["database"]
        assert client.get("/healthz").status_code == 200


def change_model(settings: ServiceSettings, model: str) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        IndexRepository(session).get("tiny").model = model
    database.close()


def test_a_database_that_was_moved_away_is_told_and_found_again(
    settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else nobody can be told more than a word.
    monkeypatch.setattr("motiontrace.service.access.keyring.KNOWN_SECONDS", 60.0)
    catalog = settings.home / "catalog.db"
    with TestClient(create_app(settings)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        catalog.rename(tmp_path / "away.db")
        answer = client.get("/readyz")
        problem = assert_problem(answer, 503, "not_ready")
        assert [error["field"] for error in problem["errors"]] == ["database"]
        assert "the file is not there" in problem["detail"]
        assert str(tmp_path) not in answer.text
        assert_problem(client.post("/v1/queries", json={"clip": "up-red"}), 503, "database_unavailable")
        assert client.get("/healthz").status_code == 200
        assert not catalog.exists(), "nobody makes an empty one"
        (tmp_path / "away.db").rename(catalog)
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/v1/queries", json={"clip": "up-red"}).status_code == 201


def test_what_is_written_after_the_database_was_replaced_is_in_the_new_one(
    settings: ServiceSettings, tmp_path: Path
) -> None:
    catalog = settings.home / "catalog.db"
    with TestClient(create_app(settings, worker=False)) as client:
        assert client.post("/v1/queries", json={"clip": "up-red"}).status_code == 201
        old = sqlite3.connect(catalog)
        old.execute("VACUUM INTO ?", [str(tmp_path / "restored.db")])
        old.close()
        for path in settings.home.glob("catalog.db*"):
            path.rename(tmp_path / path.name)
        (tmp_path / "restored.db").rename(catalog)
        query = client.post("/v1/queries", json={"clip": "up-red"}).json()
        restored = sqlite3.connect(catalog)
        assert (query["id"],) in restored.execute("SELECT id FROM queries").fetchall()
        restored.close()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_an_index_that_is_damaged_under_the_service_is_told_without_its_place(
    settings: ServiceSettings, damage: str
) -> None:
    [segment] = (settings.index_directory / "tiny").glob("*.segment")
    whole = segment.read_bytes()
    with TestClient(create_app(settings)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        if damage == "cut":
            os.truncate(segment, 0)
        else:
            segment.write_bytes(whole[:-1] + b"?")
            segment.with_suffix(".faiss").unlink()
        answer = client.post("/v1/queries", json={"clip": "up-red"})
        assert_problem(answer, 503, "index_unreadable")
        assert int(answer.headers["retry-after"]) > 0
        assert str(settings.home) not in answer.text
        if damage == "cut":
            answer = client.get("/readyz")
            assert_problem(answer, 503, "not_ready")
            assert str(settings.home) not in answer.text
            assert segment.name in answer.text
        segment.write_bytes(whole)
        until(lambda: client.post("/v1/queries", json={"clip": "up-red"}).status_code == 201)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("No checkpoint at /data/models/wan: name one.", "No checkpoint at …/wan: name one."),
        ("'/a/b.segment' (cut)", "'…/b.segment' (cut)"),
        ("sqlite:////srv/home/catalog.db cannot be used", "…/catalog.db cannot be used"),
        ("The disk of /data has 3 bytes left", "The disk of …/data has 3 bytes left"),
        ("/media/disk/home/catalog.db, /docs/clips", "…/catalog.db, …/clips"),
        ("nas:/export/home and file:///srv/x", "nas:…/home and …/x"),
        ("GET /readyz, /docs or /media/clips/a/video", "GET /readyz, /docs or /media/clips/a/video"),
        ("postgresql+psycopg://user@host/name", "postgresql+psycopg://user@host/name"),
        ("GET /v1/clips, http://localhost/a/b and 3/4", "GET /v1/clips, http://localhost/a/b and 3/4"),
    ],
)
def test_of_absolute_paths_the_last_part_is_told(text: str, told: str) -> None:
    assert without_places(text) == told
