"""Errors of the framework and of the service itself are problem+json, too."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from motiontrace.catalog.database import Database
from tests.service.asking import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings


def test_an_unknown_path(reader: TestClient) -> None:
    problem = assert_problem(reader.get("/v1/nothing"), 404, "not_found")
    assert problem["instance"] == "/v1/nothing"
    assert "/docs" in problem["todo"]


def test_a_slash_too_many(reader: TestClient) -> None:
    assert_problem(reader.get("/v1/indexes/"), 404, "not_found")
    assert_problem(reader.get("/readyz/"), 404, "not_found")


def test_a_wrong_method(reader: TestClient) -> None:
    response = reader.delete("/v1/clips")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


def test_every_method_of_a_path_is_allowed(reader: TestClient) -> None:
    for path, methods in {"/v1/queries": "GET, POST", "/v1/clips/up-red/video": "GET, HEAD"}.items():
        assert reader.delete(path).headers["allow"] == methods


def test_a_fault_of_ours_hides_the_details_and_logs_them(
    reader: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("motiontrace.service.clips.endpoints.ClipRepository", None)
    key = {"Authorization": "Bearer mt_0123456789ab_never-to-be-logged"}
    problem = assert_problem(reader.get("/v1/clips", headers=key), 500, "internal_error")
    assert "NoneType" not in problem["detail"]
    assert "Traceback" in caplog.text
    assert "TypeError" in caplog.text
    assert "never-to-be-logged" not in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        "queries SET result = '{\"top\": 3}'",
        "clips SET extra = '{'",
        "clips SET extra = x'ff'",
        "clips SET updated_at = 'now'",
        "clips SET caption = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_database_that_was_damaged_is_told(
    client: TestClient, settings: ServiceSettings, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    asked = client.post("/v1/queries", json={"clip": "up-red"}).json()["id"]
    database = Database.open(settings.url)
    with database.writing() as session:
        session.connection().exec_driver_sql(f"UPDATE {damage}")
    database.close()
    answer = client.get(f"/v1/queries/{asked}" if damage.startswith("queries") else "/v1/clips")
    problem = assert_problem(answer, 503, "database_damaged")
    assert int(answer.headers["retry-after"]) > 0
    assert "restore" in problem["todo"]
    assert caplog.text.count("restore it from a backup") == 1
    assert "Traceback" not in caplog.text


def test_a_database_that_is_away_is_told_without_its_own_words(
    client: TestClient, settings: ServiceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    for file in settings.home.glob("catalog.db*"):
        file.unlink()
    client.app.state.context.database.close()  # type: ignore[attr-defined]  # the next connection finds an empty file
    problem = assert_problem(client.get("/v1/clips"), 503, "database_unavailable")
    assert "clips" not in problem["detail"]
    assert "the file is not there" in caplog.text
    assert_problem(client.get("/readyz"), 503, "not_ready")


@pytest.mark.parametrize("path", ["/v1/clips", "/v1/queries", "/v1/queries/none/events"])
def test_a_database_without_a_free_connection_is_away(client: TestClient, path: str) -> None:
    pool = client.app.state.context.database.engine.pool  # type: ignore[attr-defined]
    with ExitStack() as taken:
        for _ in range(pool.size() + pool._max_overflow):
            taken.enter_context(closing(pool.connect()))
        pool._timeout = 0.05
        assert_problem(client.get(path), 503, "database_unavailable")
    pool._timeout = 30
