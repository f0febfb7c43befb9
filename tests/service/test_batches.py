"""Several questions in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.repositories import QueryRepository
from tests.service.asking import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True


def send(client: TestClient, questions: Any, wait: int = 30, **videos: bytes) -> Any:
    parts: list[tuple[str, Any]] = [("queries", (None, json.dumps(questions)))]
    parts += [(name, ("generated.mp4", content, "video/mp4")) for name, content in videos.items()]
    return client.post("/v1/queries/batch", files=parts, headers={"Prefer": f"wait={wait}"} if wait else {})


def test_videos_and_clips_are_answered_in_the_order_sent(client: TestClient, corpus: Corpus) -> None:
    questions = [
        {"video": "first", "prompt": "a square, up-red", "k": 2},
        {"clip": "up-red", "k": 3},
        {"video": "second", "prompt": "a square", "filter": {"metadata": {"motion": ["left"]}}},
    ]
    videos = {"second": corpus.video("down-red").read_bytes(), "first": corpus.video("up-red").read_bytes()}
    response = send(client, questions, **videos)
    assert response.status_code == 201
    first, clip, second = response.json()["queries"]
    assert [query["status"] for query in (first, clip, second)] == ["done"] * 3
    assert (first["prompt"], first["top"][0]["id"], len(first["top"])) == ("a square, up-red", "up-red", 2)
    assert (clip["clip"], len(clip["top"])) == ("up-red", 3)
    assert (second["ranked"], [hit["id"] for hit in second["top"]]) == (1, ["left-red"])
    assert len(client.get("/v1/queries").json()["queries"]) == 3


def test_a_batch_of_clips_may_be_plain_json(client: TestClient) -> None:
    response = client.post("/v1/queries/batch", json={"queries": [{"clip": "up-red"}, {"clip": "still"}]})
    assert response.status_code == 201
    assert [query["outcome"] for query in response.json()["queries"]] == ["ranked", "no_motion"]


def test_without_prefer_videos_wait(client: TestClient, corpus: Corpus) -> None:
    questions = [{"video": "a", "prompt": "x"}, {"clip": "up-red"}]
    response = send(client, questions, wait=0, a=corpus.video("up-red").read_bytes())
    assert response.status_code == 202
    assert [query["status"] for query in response.json()["queries"]] == ["queued", "done"]


GOOD = {"video": "a", "prompt": "x"}


@pytest.mark.parametrize(
    ("questions", "videos", "code", "field"),
    [
        ([GOOD, {"clip": "unknown"}], "a", "clip_not_indexed", "clip"),
        ([GOOD, {"video": "b", "prompt": "x"}], "a", "video_missing", "b"),
        ([GOOD], "ab", "unknown_field", "b"),
        ([GOOD, GOOD], "a", "repeated_field", "queries"),
        ([GOOD, {"video": "b"}], "ab", "invalid_parameters", "queries.1.video.prompt"),
        ([GOOD, {"clip": "up-red", "k": 0}], "a", "invalid_parameters", "queries.1.clip.k"),
        ([GOOD, 3], "a", "invalid_parameters", "queries.1.video"),
        ([], "a", "invalid_parameters", "queries"),
        ([{"clip": "up-red"}] * 65, "", "invalid_parameters", "queries"),
        ({}, "", "invalid_parameters", "queries"),
    ],
)
def test_one_wrong_question_refuses_all(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, questions: Any, videos: str, code: str, field: str
) -> None:
    content = corpus.video("up-red").read_bytes()
    problem = assert_problem(send(client, questions, **dict.fromkeys(videos, content)), 422, code)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert client.get("/v1/queries").json()["queries"] == []
    assert list(settings.upload_directory.glob("*/The upload")) == []


def test_a_broken_video_refuses_all_and_leaves_none(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    questions = [GOOD, {"video": "b", "prompt": "x"}]
    assert_problem(send(client, questions, a=corpus.video("up-red").read_bytes(), b=b"words"), 422, "not_a_video")
    assert client.get("/v1/queries").json()["queries"] == []
    assert [path.name for path in settings.upload_directory.iterdir()] == ["incoming"]
    assert list((settings.upload_directory / "incoming").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nul"])
def test_questions_that_are_no_json_are_refused(client: TestClient, text: str) -> None:
    response = client.post("/v1/queries/batch", files=[("queries", (None, text))])
    assert response.status_code == 422
    assert response.json()["code"] in {"not_json", "invalid_parameters"}


def test_more_files_than_questions_may_be_are_refused(client: TestClient) -> None:
    videos = {f"v{number}": b"x" for number in range(65)}
    assert_problem(send(client, [GOOD], **videos), 422, "too_many_files")


def test_the_videos_of_a_batch_are_bounded_together(client: TestClient, settings: ServiceSettings) -> None:
    most = client.app.state.context.settings.max_upload_bytes  # type: ignore[attr-defined]
    assert most == settings.max_upload_bytes
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(most + (8 << 20))}
    assert_problem(client.post("/v1/queries/batch", content=b"--b", headers=headers), 413, "video_too_large")


def test_what_was_stored_is_what_was_sent(client: TestClient, corpus: Corpus) -> None:
    content = corpus.video("up-red").read_bytes()
    query = send(client, [GOOD], a=content).json()["queries"][0]
    with client.app.state.context.database.reading() as session:  # type: ignore[attr-defined]
        record = QueryRepository(session).get(query["id"])
        assert record is not None
        assert Path(record.video_path or "").read_bytes() == content
