"""More like this clip: answered from the index, without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from motiontrace.service.app import create_app
from tests.service.asking import ask, assert_problem
from tests.service.conftest import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True


@pytest.fixture(scope="module")
def bare(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API alone: no worker, so no model."""
    settings = copy_of(corpus, tmp_path_factory.mktemp("bare"))
    with TestClient(create_app(settings, worker=False), raise_server_exceptions=False) as client:
        yield client


def similar(client: TestClient, clip: str, **fields: Any) -> Any:
    return client.post("/v1/queries", json={"clip": clip, **fields})


def test_a_clip_is_answered_at_once_without_itself(bare: TestClient) -> None:
    response = similar(bare, "left-red", k=3)
    assert response.status_code == 201
    query = response.json()
    assert (query["status"], query["outcome"], query["clip"]) == ("done", "ranked", "left-red")
    assert (query["prompt"], query["video"], query["motion"]) == (None, None, None)
    assert query["ranked"] == 7
    ranked = [hit["id"] for hit in query["top"] + query["bottom"]]
    assert "left-red" not in ranked
    assert query["top"][0]["rank"] == 1
    assert query["top"][0]["percentile"] == 100
    assert query["bottom"][0]["rank"] == 7
    assert bare.get(response.headers["location"]).json() == query


def test_the_ranking_is_that_of_the_whole_index_but_for_the_clip(bare: TestClient, corpus: Corpus) -> None:
    mine = similar(bare, "up-red", k=8).json()["top"]
    others = {hit["id"]: similar(bare, hit["id"], k=8).json()["top"] for hit in mine}
    assert len(mine) == 7
    for hit in mine:  # influence is symmetric between clips of one index
        back = next(each for each in others[hit["id"]] if each["id"] == "up-red")
        assert back["score"] == pytest.approx(hit["score"], abs=2e-3)


def test_a_clip_in_which_nothing_moves_ranks_nothing(bare: TestClient) -> None:
    query = similar(bare, "still").json()
    assert (query["status"], query["outcome"], query["ranked"], query["top"]) == ("done", "no_motion", 0, [])
    assert query["message"].startswith("Nothing moves in this clip")
    assert bare.get(f"/v1/queries/{query['id']}/clips").json() == {
        "ranked": 0,
        "message": None,
        "chance": None,
        "clips": [],
        "next": None,
    }


def test_a_clip_that_has_no_like_says_so(bare: TestClient) -> None:
    alone = similar(bare, "left-red", filter={"metadata": {"motion": ["left"]}}).json()
    assert (alone["ranked"], alone["message"]) == (
        0,
        "No other clip that moves passes the filter, so there is nothing to rank.",
    )


@pytest.mark.parametrize("clip", ["broken", "unknown"])
def test_a_clip_without_a_gradient_is_refused(bare: TestClient, clip: str) -> None:
    problem = assert_problem(similar(bare, clip), 422, "clip_not_indexed")
    assert clip in problem["detail"]
    assert problem["errors"][0]["field"] == "clip"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "clip"),
        ({"clip": ""}, "clip"),
        ({"clip": 3}, "clip"),
        ({"clip": "up-red", "k": 0}, "k"),
        ({"clip": "up-red", "k": 1001}, "k"),
        ({"clip": "up-red", "prompt": "x"}, "prompt"),
        ({"clip": "up-red", "filter": {"verdict": "good"}}, "filter.verdict"),
        ({"clip": "up-red", "filter": {"motion": ["left"]}}, "filter.motion"),
    ],
)
def test_a_wrong_body_is_refused_by_field(bare: TestClient, body: dict[str, Any], field: str) -> None:
    problem = assert_problem(bare.post("/v1/queries", json=body), 422, "invalid_parameters")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"nul", b'{"clip": "\\ud800"}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(bare: TestClient, body: bytes) -> None:
    response = bare.post("/v1/queries", content=body, headers={"content-type": "application/json"})
    assert_problem(response, 422, "invalid_parameters")


def test_a_json_body_is_bounded(bare: TestClient) -> None:
    response = bare.post("/v1/queries", content=b" " * (1 << 20) + b"{}", headers={"content-type": "application/json"})
    assert_problem(response, 413, "body_too_large")


def test_a_filter_decides_which_clips_are_ranked(bare: TestClient) -> None:
    query = similar(bare, "left-red", filter={"metadata": {"motion": ["up", "down"]}}).json()
    assert {hit["id"] for hit in query["top"]} == {"up-red", "down-red"}
    assert query["ranked"] == 2
    assert query["filter"]["metadata"] == {"motion": ["up", "down"]}
    nothing = similar(bare, "left-red", filter={"metadata": {"motion": ["sideways"]}}).json()
    assert (nothing["outcome"], nothing["ranked"]) == ("ranked", 0)
    assert "passes the filter" in nothing["message"]


def test_labels_filter_and_are_shown(bare: TestClient) -> None:
    label = {"verdict": "cartoon", "decision": "drop"}
    assert bare.put("/v1/clips/up blue/labels", json=label).status_code == 200
    with_it = similar(bare, "left-red").json()["top"]
    assert {(hit["verdict"], hit["decision"]) for hit in with_it if hit["id"] == "up blue"} == {("cartoon", "drop")}
    without = similar(bare, "left-red", filter={"without_decision": ["drop"]}).json()
    assert without["ranked"] == 6
    assert "up blue" not in {hit["id"] for hit in without["top"]}
    only = similar(bare, "left-red", filter={"verdict": ["cartoon"]}).json()
    assert [hit["id"] for hit in only["top"]] == ["up blue"]


def test_a_video_without_a_worker_waits(bare: TestClient, corpus: Corpus) -> None:
    first, second = (ask(bare, corpus.video("up-red"), wait=0).json() for _ in range(2))
    assert (first["status"], first["place"], second["place"]) == ("queued", 1, 2)
    assert bare.delete(f"/v1/queries/{first['id']}").status_code == 204
    assert bare.get(f"/v1/queries/{second['id']}").json()["place"] == 1
    assert bare.delete(f"/v1/queries/{second['id']}").status_code == 204


def test_more_waiting_queries_than_allowed_are_refused(settings: ServiceSettings, corpus: Corpus) -> None:
    with TestClient(create_app(settings.model_copy(update={"max_queue": 2}), worker=False)) as client:
        assert [ask(client, corpus.video("up-red"), wait=0).status_code for _ in range(2)] == [202, 202]
        problem = assert_problem(refused := ask(client, corpus.video("up-red"), wait=0), 503, "queue_full")
        assert int(refused.headers["retry-after"]) > 0
        assert "MOTIONTRACE_MAX_QUEUE" in problem["todo"]
        assert similar(client, "up-red").status_code == 201  # it waits for nobody
    assert len(list(settings.upload_directory.glob("*/The upload"))) == 2


def test_damaged_vectors_are_told_as_such(settings: ServiceSettings) -> None:
    (settings.index_directory / "tiny" / "manifest.json").write_text("{}")
    with TestClient(create_app(settings, worker=False), raise_server_exceptions=False) as client:
        response = similar(client, "up-red")
        assert_problem(response, 503, "index_unreadable")


def test_a_forgotten_query_takes_its_video_along(settings: ServiceSettings, corpus: Corpus) -> None:
    def videos() -> list[Path]:
        return list(settings.upload_directory.glob("*/The upload"))

    with TestClient(create_app(settings)) as client:
        query = ask(client, corpus.video("up-red")).json()
        assert len(videos()) == 1
        assert client.delete(f"/v1/queries/{query['id']}").status_code == 204
        assert videos() == []
        assert_problem(client.get(f"/v1/queries/{query['id']}"), 404, "query_not_found")
        assert_problem(client.delete(f"/v1/queries/{query['id']}"), 404, "query_not_found")
