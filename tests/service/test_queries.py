"""A query from the upload to both ends of the ranking."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fastapi.testclient import TestClient

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import IndexRepository, JobRepository, QueryRepository
from motiontrace.catalog.repositories.queries import unpack_gradient
from motiontrace.catalog.vectors import Searcher, VectorStore
from motiontrace.service.app import create_app
from motiontrace.service.settings import ServiceSettings
from tests.service.asking import ask, assert_problem, until
from tests.service.conftest import DIRECTIONS, Corpus, index_corpus
from tests.videos import SIDE, write_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOTH_DATABASES = True


def test_a_clip_asked_about_itself_is_its_own_best_teacher(reader: TestClient, corpus: Corpus) -> None:
    response = ask(reader, corpus.video("left-red"), "a square, left-red", k=3)
    assert response.status_code == 201
    assert response.headers["preference-applied"] == "wait=30"
    query = response.json()
    assert response.headers["location"] == f"/v1/queries/{query['id']}"
    assert (query["status"], query["outcome"], query["index"]) == ("done", "ranked", "tiny")
    assert query["ranked"] == 2 * len(DIRECTIONS)
    best = query["top"][0]
    assert best["score"] == pytest.approx(1, abs=1e-3)
    assert best == {
        "id": "left-red",
        "score": best["score"],
        "rank": 1,
        "percentile": 100.0,
        "stands_out": None,
        "file_name": "left-red.mp4",
        "path": None,
        "caption": "a square, left-red",
        "metadata": {"motion": "left"},
        "verdict": None,
        "decision": None,
        "video_url": "/v1/clips/left-red/video",
        "thumbnail_url": "/v1/clips/left-red/thumbnail",
    }
    assert [hit["rank"] for hit in query["top"]] == [1, 2, 3]
    assert [hit["rank"] for hit in query["bottom"]] == [8, 7, 6]
    assert query["bottom"][0]["percentile"] == 0
    assert query["recipe_digest"] == corpus.recipe.digest
    assert query["video"]["sha256"] == hashlib.sha256(corpus.video("left-red").read_bytes()).hexdigest()
    assert (query["video"]["width"], query["video"]["frames"]) == (SIDE, 12)
    assert query["motion"]["moves"]
    assert query["motion"]["peak"] > query["motion"]["floor"]
    assert len(query["motion"]["per_frame"]) == corpus.recipe.frames
    assert query["timings"].keys() >= {"decoding", "motion", "gradient", "scoring", "waiting"}


def test_the_media_of_a_hit_are_served_where_it_says(reader: TestClient, corpus: Corpus) -> None:
    hit = next(
        hit
        for hit in ask(reader, corpus.video("up-red"), k=8).json()["top"]
        if " " in hit["id"]  # an id that has to be escaped
    )
    assert reader.get(hit["video_url"]).content == corpus.video(hit["id"]).read_bytes()
    assert reader.get(hit["thumbnail_url"]).headers["content-type"] == "image/jpeg"


def test_without_prefer_the_query_is_queued_and_read_at_its_location(reader: TestClient, corpus: Corpus) -> None:
    response = ask(reader, corpus.video("down-red"), wait=0)
    assert response.status_code == 202
    assert "preference-applied" not in response.headers
    assert response.json()["status"] in {"queued", "running"}
    location = response.headers["location"]
    done = until(lambda: (found := reader.get(location).json())["status"] == "done" and found)
    assert done["finished_at"] >= done["created_at"]


def test_the_202_is_the_query_as_it_was_queued(
    client: TestClient, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = client.app.state.context.worker  # type: ignore[attr-defined]
    wake = worker.wake

    def wake_and_let_it_finish() -> None:
        wake()
        until(lambda: client_status(client) == "done")

    monkeypatch.setattr(worker, "wake", wake_and_let_it_finish)
    response = ask(client, corpus.video("still"), wait=0)
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert client.get(response.headers["location"]).json()["status"] == "done"


def client_status(client: TestClient) -> str:
    """The status of the one query there is, read beside the app, which is busy."""
    with client.app.state.context.database.reading() as session:  # type: ignore[attr-defined]
        return QueryRepository(session).page().items[0].status


def test_the_same_question_has_the_same_answer(reader: TestClient, corpus: Corpus) -> None:
    first, second = (ask(reader, corpus.video("right-red")).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert (first["top"], first["bottom"]) == (second["top"], second["bottom"])


def test_a_video_in_which_nothing_moves_is_done_and_ranks_nothing(reader: TestClient, corpus: Corpus) -> None:
    query = ask(reader, corpus.video("still")).json()
    assert (query["status"], query["outcome"], query["top"], query["bottom"]) == ("done", "no_motion", [], [])
    assert query["message"].startswith("Nothing moves in this video")
    assert query["motion"]["moves"] is False
    assert query["ranked"] == 0


def test_a_still_clip_is_in_no_ranking(reader: TestClient, corpus: Corpus) -> None:
    query = ask(reader, corpus.video("up-red"), k=1000).json()
    assert {hit["id"] for hit in query["top"]} == {hit["id"] for hit in query["bottom"]}
    assert not {"still", "broken"} & {hit["id"] for hit in query["top"]}


@pytest.mark.parametrize(
    ("cut", "code"),
    [
        (lambda video: b"These are words.\n" * 50, "not_a_video"),
        (lambda video: video[: len(video) // 2], "truncated"),
    ],
)
def test_a_file_that_is_no_whole_video_is_refused_with_its_reason(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, cut: Callable[[bytes], bytes], code: str
) -> None:
    problem = assert_problem(ask(client, cut(corpus.video("up-red").read_bytes())), 422, code)
    assert problem["detail"].startswith("The upload is ")
    assert problem["errors"][0]["field"] == "video"
    assert client.get("/v1/queries").json()["queries"] == []
    assert [path.name for path in settings.upload_directory.iterdir()] == ["incoming"]


def test_a_video_that_proves_damaged_when_it_is_decoded_fails_with_its_reason(
    reader: TestClient, corpus: Corpus
) -> None:
    content = bytearray(corpus.video("up-red").read_bytes())
    start = content.index(b"mdat")
    size = int.from_bytes(content[start - 4 : start])
    content[start + 4 : start - 4 + size] = b"\xff" * (size - 8)  # the container stays whole, the pictures do not
    query = ask(reader, bytes(content)).json()
    assert (query["status"], query["outcome"], query["stage"]) == ("failed", None, "decoding")
    assert query["error"]["code"] in {"damaged", "no_frames"}
    assert query["error"]["message"].startswith(("The upload is ", "No frame of The upload "))


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("max_video_pixels", SIDE * SIDE - 1, "picture_too_large"),
        ("max_video_frames", 11, "too_many_frames"),
        ("max_video_seconds", 0.1, "too_long"),
    ],
)
def test_a_video_beyond_a_limit_is_refused_at_once(
    settings: ServiceSettings, corpus: Corpus, setting: str, value: float, code: str
) -> None:
    with TestClient(create_app(settings.model_copy(update={setting: value}))) as client:
        assert_problem(ask(client, corpus.video("up-red")), 422, code)
        assert client.get("/v1/queries").json()["queries"] == []


def test_a_video_of_one_frame_has_no_motion(reader: TestClient, tmp_path: Path) -> None:
    video = write_video(tmp_path / "one.mp4", np.full((1, SIDE, SIDE, 3), 60, dtype=np.uint8))
    query = ask(reader, video).json()
    assert query["outcome"] == "no_motion"
    assert query["message"].startswith("This video has a single frame")


def test_the_gradient_is_kept_with_the_query(client: TestClient, settings: ServiceSettings, corpus: Corpus) -> None:
    query_id = ask(client, corpus.video("up-red"), "a square, up-red").json()["id"]
    database = Database.open(settings.url)
    with database.reading() as session:
        record = QueryRepository(session).get(query_id)
    database.close()
    assert record is not None
    assert record.gradient is not None
    stored = Searcher.open(settings.index_directory / "tiny", corpus.recipe.digest).vector("up-red")
    assert unpack_gradient(record.gradient) == pytest.approx(stored, abs=1e-5)


def test_a_new_manifest_is_picked_up_without_a_restart(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    assert ask(client, corpus.video("up-red")).json()["ranked"] == 8
    with VectorStore(settings.index_directory / "tiny", corpus.recipe.digest) as store:
        store.publish([], removed=["left-red", "right-red"])
    assert ask(client, corpus.video("up-red")).json()["ranked"] == 6


def test_queries_that_a_crash_left_running_are_answered_after_the_start(
    settings: ServiceSettings, corpus: Corpus
) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        queries = QueryRepository(session)
        query = queries.create(
            IndexRepository(session).get("tiny"),
            prompt="a square",
            video_path=str(corpus.video("left-red")),
            video_sha256="0" * 64,
            k=2,
        )
        assert JobRepository(session).claim_next("killed", 0.0)
    database.close()
    with TestClient(create_app(settings)) as client:
        until(lambda: client.get(f"/v1/queries/{query.id}").json()["status"] == "done")


def test_queries_are_listed_newest_first_in_pages(client: TestClient, corpus: Corpus) -> None:
    asked = [ask(client, corpus.video("still"), prompt=f"number {number}").json()["id"] for number in range(3)]
    first = client.get("/v1/queries", params={"limit": 2}).json()
    second = client.get(first["next"]).json()
    assert second["next"] is None
    assert [query["id"] for query in first["queries"] + second["queries"]] == asked[::-1]
    assert first["queries"][0]["prompt"] == "number 2"
    assert client.get("/v1/queries", params={"status": "queued"}).json()["queries"] == []


@pytest.mark.parametrize("after", ["typo", "~", "2026-01-01~x", "0001-01-01T00:00:00+14:00~x"])
def test_a_place_that_is_none_is_refused(reader: TestClient, after: str) -> None:
    problem = assert_problem(reader.get("/v1/queries", params={"after": after}), 422, "unknown_place")
    assert problem["errors"][0]["field"] == "after"


def test_an_unknown_query_is_not_found(reader: TestClient) -> None:
    problem = assert_problem(reader.get("/v1/queries/none"), 404, "query_not_found")
    assert problem["instance"] == "/v1/queries/none"


def test_a_clip_that_has_left_the_catalog_keeps_its_place(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    query_id = ask(client, corpus.video("up-red"), k=8).json()["id"]
    database = Database.open(settings.url)
    with database.writing() as session:
        session.connection().exec_driver_sql("DELETE FROM clips WHERE id = 'up-red'")
    database.close()
    hits = {hit["id"]: hit for hit in client.get(f"/v1/queries/{query_id}").json()["top"]}
    assert (hits["up-red"]["caption"], hits["up-red"]["metadata"]) == (None, {})


def test_a_model_that_is_gone_fails_the_query_and_says_where_it_was(settings: ServiceSettings, corpus: Corpus) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        IndexRepository(session).get("tiny").model = "/nowhere/model"
    database.close()
    with TestClient(create_app(settings)) as client:
        query = ask(client, corpus.video("up-red")).json()
        assert query["status"] == "failed"
        assert query["error"]["code"] == "model_unavailable"
        assert "/nowhere/model" in query["error"]["message"]


def test_several_indexes_have_to_be_told_apart(settings: ServiceSettings, corpus: Corpus) -> None:
    index_corpus(corpus, settings, "second")
    with TestClient(create_app(settings)) as client:
        problem = assert_problem(ask(client, corpus.video("up-red")), 422, "index_needed")
        assert "second, tiny" in problem["detail"]
        assert ask(client, corpus.video("up-red"), index="second").json()["index"] == "second"


def test_without_an_index_there_is_nothing_to_ask(tmp_path: Path, corpus: Corpus) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        problem = assert_problem(ask(client, corpus.video("up-red")), 409, "no_index")
        assert "index clips" in problem["todo"]
