"""What the form may hold, and what is left on disk of one that is refused."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.service import kept_videos
from motiontrace.service.app import create_app
from tests.service.asking import ask, assert_problem, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

VIDEO = ("video", ("a.mp4", b"x" * 100, "video/mp4"))
PROMPT = ("prompt", (None, "a square"))


@pytest.mark.parametrize(
    ("form", "code", "field"),
    [
        ([("video", ("a.mp4", b"", "video/mp4")), PROMPT], "empty_file", "video"),
        ([PROMPT], "video_missing", "video"),
        ([("video", (None, "generated.mp4")), PROMPT], "video_is_text", "video"),
        ([VIDEO, VIDEO, PROMPT], "repeated_field", "video"),
        ([VIDEO, PROMPT, PROMPT], "repeated_field", "prompt"),
        ([VIDEO, PROMPT, ("promt", (None, "x"))], "unknown_field", "promt"),
        ([VIDEO], "invalid_parameters", "prompt"),
        ([VIDEO, ("prompt", (None, "  "))], "invalid_parameters", "prompt"),
        ([VIDEO, ("prompt", (None, "a\x00b"))], "invalid_parameters", "prompt"),
        ([VIDEO, ("prompt", (None, "x" * 10_001))], "invalid_parameters", "prompt"),
        ([VIDEO, PROMPT, ("k", (None, "0"))], "invalid_parameters", "k"),
        ([VIDEO, PROMPT, ("k", (None, "many"))], "invalid_parameters", "k"),
        ([VIDEO, PROMPT, ("index", (None, "other"))], "unknown_index", "index"),
    ],
)
def test_a_wrong_form_is_refused_by_field(reader: TestClient, form: list[Any], code: str, field: str) -> None:
    problem = assert_problem(reader.post("/v1/queries", files=form), 422, code)
    assert [error["field"] for error in problem["errors"]] == [field]


def test_several_wrong_fields_are_told_at_once(reader: TestClient) -> None:
    response = reader.post("/v1/queries", files=[VIDEO, ("k", (None, "0"))])
    assert {error["field"] for error in response.json()["errors"]} == {"k", "prompt"}


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{}", "text/plain", 415, "not_multipart"),
        (b"", "", 415, "not_multipart"),
        (b"", "multipart/form-data", 415, "not_multipart"),
        (b"", "multipart/form-data; boundary=b", 400, "broken_form"),
        (b"x", "multipart/form-data; boundary=" + "b" * 5000, 400, "broken_form"),
        (b"no boundary here", "multipart/form-data; boundary=b", 400, "broken_form"),
        (
            b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhalf',
            "multipart/form-data; boundary=b",
            400,
            "broken_form",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--b\r\n'
            b'Content-Disposition: form-data; name="video"; filename="v"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
            "broken_form",
        ),
    ],
)
def test_a_body_that_is_no_form_is_refused(reader: TestClient, body: bytes, kind: str, status: int, code: str) -> None:
    response = reader.post("/v1/queries", content=body, headers={"content-type": kind} if kind else {})
    assert_problem(response, status, code)


def test_a_video_over_the_bound_is_refused_and_nothing_is_kept(settings: ServiceSettings, corpus: Corpus) -> None:
    small = settings.model_copy(update={"max_upload_bytes": 1000})
    with TestClient(create_app(small)) as client:
        problem = assert_problem(ask(client, b"x" * 1001), 413, "video_too_large")
        assert "1,000 bytes" in problem["detail"]
        assert_problem(ask(client, b"x" * 1000), 422, "not_a_video")
        announced = client.post(
            "/v1/queries",
            content=b"",
            headers={"content-type": "multipart/form-data; boundary=b", "content-length": "999999"},
        )
        assert_problem(announced, 413, "video_too_large")
    assert list((settings.upload_directory / "incoming").iterdir()) == []


def test_what_surrounds_the_form_is_bounded_too(settings: ServiceSettings) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\nx\r\n--b--\r\n'
        for _ in range(20):
            yield bytes(1 << 14)

    small = settings.model_copy(update={"max_upload_bytes": 1000})
    with TestClient(create_app(small)) as client:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert_problem(client.post("/v1/queries", content=body(), headers=headers), 413, "video_too_large")


def test_an_upload_whose_query_cannot_be_stored_is_not_kept(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON queries BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    database.close()
    assert_problem(ask(client, corpus.video("up-red")), 500, "internal_error")
    assert [path for path in settings.upload_directory.rglob("*") if path.name != "incoming"] == []


def test_uploads_that_no_query_names_are_removed_at_the_start(settings: ServiceSettings, corpus: Corpus) -> None:
    with TestClient(create_app(settings)) as client:
        ask(client, corpus.video("still"))
    (named,) = (path for path in settings.upload_directory.iterdir() if path.name != "incoming")
    orphan, young = settings.upload_directory / "orphan", settings.upload_directory / "young"
    for path in (orphan, young):
        path.mkdir()
        (path / "The upload").write_text("left")
    for path in (named, orphan, settings.upload_directory / "incoming"):
        os.utime(path, (0, 0))
    with TestClient(create_app(settings)):
        pass
    assert {path.name for path in settings.upload_directory.iterdir()} == {"incoming", "young", named.name}


def test_several_processes_may_remove_what_no_query_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))

    def remove(path: Path, ignore_errors: bool) -> None:
        for folder in tmp_path.iterdir():  # another process removes the rest meanwhile
            folder.rmdir()

    monkeypatch.setattr(kept_videos.shutil, "rmtree", remove)
    kept_videos.remove_abandoned(tmp_path, ())
    assert list(tmp_path.iterdir()) == []


def test_the_first_file_of_a_long_batch_waits_for_the_last(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    directory = settings.upload_directory / "incoming"
    directory.mkdir(parents=True)
    arrived, left = directory / "arrived", directory / "left"
    for path, hours in ((arrived, 3), (left, 30)):
        path.touch()
        os.utime(path, (time.time() - hours * 3600,) * 2)
    ask(client, corpus.video("still"))
    assert list(directory.iterdir()) == [arrived]


def test_a_video_stays_where_nobody_knows_whether_its_query_was_stored(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Database.writing

    @contextmanager
    def cut_off(database: Database, *, durable: bool = True) -> Iterator[Session]:
        with real(database, durable=durable) as session:
            yield session
        raise DatabaseUnavailableError("the connection was closed")

    with monkeypatch.context() as patch:
        patch.setattr(client.app.state.context.worker, "_claim", lambda: None)  # type: ignore[attr-defined]
        patch.setattr(Database, "writing", cut_off)
        assert_problem(ask(client, corpus.video("up-red")), 503, "database_unavailable")
    (query,) = client.get("/v1/queries").json()["queries"]
    until(lambda: client.get(f"/v1/queries/{query['id']}").json()["status"] == "done")


def test_text_fields_are_bounded_too(reader: TestClient) -> None:
    response = reader.post("/v1/queries", files=[("prompt", (None, "x" * 70_000)), VIDEO])
    assert_problem(response, 413, "text_too_large")


@pytest.mark.parametrize("name", ["../../evil.mp4", "/etc/evil.mp4", "..", "a\\b.mp4", "\N{FILM FRAMES}.mp4", ""])
def test_the_files_name_is_never_a_path(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, name: str
) -> None:
    content = corpus.video("still").read_bytes()
    response = client.post("/v1/queries", files={"video": (name, content, "video/mp4"), "prompt": (None, "a square")})
    assert response.status_code == 202
    kept = [path for path in settings.upload_directory.rglob("*") if path.is_file()]
    assert [path.name for path in kept] == ["The upload"]
    assert kept[0].read_bytes() == content
    assert kept[0].parent.parent == settings.upload_directory


def test_fields_may_come_in_any_order_and_with_a_charset(client: TestClient, corpus: Corpus) -> None:
    content = corpus.video("still").read_bytes()
    form = [
        ("video", ("v", content, "video/mp4")),
        ("k", (None, "3")),
        ("prompt", (None, "ein Ball hüpft", "text/plain")),
    ]
    query = client.post("/v1/queries", files=form).json()
    assert (query["prompt"], query["k"]) == ("ein Ball hüpft", 3)
