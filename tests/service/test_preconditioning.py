"""Queries seen against what all clips of their index share: centred and whitened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from motiontrace.attribution.moments import Moments
from motiontrace.attribution.preconditioning import precondition
from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.catalog.repositories.queries import unpack_gradient
from motiontrace.catalog.vectors import Searcher, VectorStore
from tests.service.asking import ask, assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.preconditions import Precondition
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus, RunningApp

BOTH_DATABASES = True
SETTINGS: list[dict[str, Any]] = [{"precondition": "centre"}, {"precondition": "whiten", "damping": 0.5}]
MOVING = [f"{name}{colour}" for name in ("right", "left", "up", "down") for colour in ("-red", " blue")]


def similar(client: TestClient, clip: str, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/queries", json={"clip": clip, **fields})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def ranking(client: TestClient, query: dict[str, Any], limit: int = 3, end: str = "top") -> list[dict[str, Any]]:
    """All clips, read page by page."""
    clips: list[dict[str, Any]] = []
    following: str | None = f"/v1/queries/{query['id']}/clips?limit={limit}&end={end}"
    while following is not None:
        page = client.get(following).json()
        clips += page["clips"]
        following = page["next"]
    return clips


def wanted(
    corpus: Corpus, settings: ServiceSettings, clip: str, kind: Precondition, damping: float
) -> dict[str, float]:
    """The scores of all other clips by the equations alone."""
    searcher = Searcher.open(settings.index_directory / "tiny", corpus.recipe.digest)
    vectors = {each: vector for each in MOVING if (vector := searcher.vector(each)) is not None}
    moments = Moments.of(np.stack(list(vectors.values())).astype(np.float16))
    found = precondition(vectors[clip], moments.mean, moments.second_moment, kind, damping)
    return {each: float(vector @ found.query - found.offset) for each, vector in vectors.items() if each != clip}


@pytest.mark.parametrize("fields", SETTINGS)
def test_clips_are_scored_by_the_preconditioned_query(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, fields: dict[str, Any]
) -> None:
    kind, damping = fields["precondition"], fields.get("damping", 0.1)
    query = similar(client, "up-red", k=10, **fields)
    expected = wanted(corpus, settings, "up-red", kind, damping)
    assert {hit["id"]: hit["score"] for hit in query["top"]} == pytest.approx(expected, abs=1e-3)
    assert [hit["score"] for hit in query["top"]] == sorted((hit["score"] for hit in query["top"]), reverse=True)
    plain = {hit["id"]: hit["score"] for hit in similar(client, "up-red", k=10)["top"]}
    assert max(abs(plain[clip] - expected[clip]) for clip in plain) > 0.01


def test_the_answer_says_how_and_by_which_statistics(client: TestClient) -> None:
    query = similar(client, "up-red", precondition="whiten")
    assert (query["precondition"], query["damping"]) == ("whiten", 0.1)
    assert query["statistics"]["vectors"] == 8
    assert query["statistics"]["manifest_version"] == 1
    assert len(query["statistics"]["digest"]) == 64
    assert client.get(f"/v1/queries/{query['id']}").json() == query
    centred = similar(client, "up-red", precondition="centre")
    assert (centred["precondition"], centred["damping"]) == ("centre", None)
    assert centred["statistics"] == query["statistics"]
    plain = similar(client, "up-red")
    assert (plain["precondition"], plain["damping"], plain["statistics"]) == ("none", None, None)
    listed = client.get("/v1/queries").json()["queries"]
    assert [(each["precondition"], each["damping"]) for each in listed] == [
        ("none", None), ("centre", None), ("whiten", 0.1),
    ]  # fmt: skip


def test_center_is_read_as_centre(client: TestClient, corpus: Corpus) -> None:
    as_form = ask(client, corpus.video("up-red"), "a square, up-red", precondition="center").json()
    as_json = similar(client, "up-red", precondition="center")
    assert as_form["precondition"] == as_json["precondition"] == "centre"
    assert as_json["top"] == similar(client, "up-red", precondition="centre")["top"]


def test_a_centred_video_has_scores_of_mean_zero(client: TestClient, corpus: Corpus) -> None:
    query = ask(client, corpus.video("up-red"), "a square, up-red", k=8, precondition="centre").json()
    assert (query["status"], query["precondition"], query["ranked"]) == ("done", "centre", 8)
    assert query["top"][0]["id"] == "up-red"
    assert np.mean([hit["score"] for hit in query["top"]]) == pytest.approx(0, abs=1e-6)


def test_a_video_is_computed_once_however_it_is_preconditioned(client: TestClient, corpus: Corpus) -> None:
    plain = ask(client, corpus.video("up-red"), "a square").json()
    whitened = ask(client, corpus.video("up-red"), "a square", precondition="whiten", damping=0.01).json()
    assert (whitened["status"], whitened["gradient_of"]) == ("done", plain["id"])
    assert whitened["damping"] == 0.01
    assert [hit["score"] for hit in whitened["top"]] != [hit["score"] for hit in plain["top"]]
    again = ask(client, corpus.video("up-red"), "a square").json()
    assert again["top"] == plain["top"]


@pytest.mark.parametrize("fields", SETTINGS)
def test_the_same_question_has_the_same_bits_also_after_a_restart(
    settings: ServiceSettings, running_app: RunningApp, fields: dict[str, Any]
) -> None:
    answers = []
    for _ in range(2):
        with running_app(settings) as client:
            answers += [similar(client, "up-red", k=10, **fields) for _ in range(2)]
    told = [(each["top"], each["bottom"], each["statistics"]) for each in answers]
    assert told[0] == told[1] == told[2] == told[3]
    database = Database.open(settings.url)
    with database.reading() as session:
        records = [QueryRepository(session).get(each["id"]) for each in answers]
    database.close()
    assert len({(record.direction, record.score_offset) for record in records if record is not None}) == 1


@pytest.mark.parametrize("fields", SETTINGS)
@pytest.mark.parametrize("end", ["top", "bottom"])
def test_pages_are_scored_as_the_answer_was(client: TestClient, fields: dict[str, Any], end: str) -> None:
    query = similar(client, "up-red", k=10, **fields)
    assert ranking(client, query, end=end) == query[end]


@pytest.mark.parametrize("fields", SETTINGS)
def test_an_export_has_the_scores_of_the_answer(client: TestClient, fields: dict[str, Any]) -> None:
    query = similar(client, "up-red", k=10, **fields)
    lines = client.get(f"/v1/queries/{query['id']}/export", params={"format": "jsonl"}).text.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["id"], row["score"]) for row in rows] == [(hit["id"], hit["score"]) for hit in query["top"]]


def test_a_filter_decides_what_is_ranked_not_what_is_shared(client: TestClient) -> None:
    whole = {hit["id"]: hit["score"] for hit in similar(client, "up-red", k=10, precondition="centre")["top"]}
    some = similar(client, "up-red", precondition="centre", filter={"metadata": {"motion": ["left", "down"]}})
    assert {hit["id"]: hit["score"] for hit in some["top"]} == {each: whole[each] for each in ("left-red", "down-red")}


def test_a_ranking_keeps_its_statistics_though_the_index_changes(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    query = similar(client, "up-red", k=10, precondition="whiten")
    gone = query["top"][2]["id"]
    with VectorStore(settings.index_directory / "tiny", corpus.recipe.digest) as store:
        store.publish([], removed=[gone])
    left = {hit["id"]: hit["score"] for hit in query["top"] if hit["id"] != gone}
    assert {hit["id"]: hit["score"] for hit in ranking(client, query)} == left
    later = similar(client, "up-red", k=10, precondition="whiten")
    assert later["statistics"]["vectors"] == 7
    assert later["statistics"]["digest"] != query["statistics"]["digest"]
    assert {hit["id"]: hit["score"] for hit in later["top"]} != left
    assert client.get(f"/v1/queries/{query['id']}").json()["statistics"] == query["statistics"]


def test_what_is_common_to_all_clips_has_nothing_left_when_centred(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    with VectorStore(settings.index_directory / "tiny", corpus.recipe.digest) as store:
        store.publish([], removed=[clip for clip in MOVING if clip != "up-red"])
    query = similar(client, "up-red", precondition="centre")
    assert (query["outcome"], query["ranked"], query["top"], query["bottom"]) == ("ranked", 0, [], [])
    assert query["message"].startswith("Nothing is left of this motion once it is centred")
    assert client.get(f"/v1/queries/{query['id']}/clips").json() == {
        "ranked": 0,
        "message": None,
        "chance": None,
        "clips": [],
        "next": None,
    }


def test_a_clip_without_motion_has_no_statistics(client: TestClient) -> None:
    query = similar(client, "still", precondition="whiten")
    assert (query["outcome"], query["precondition"], query["statistics"]) == ("no_motion", "whiten", None)


def test_the_gradient_is_kept_as_it_was_computed(client: TestClient, settings: ServiceSettings, corpus: Corpus) -> None:
    query = similar(client, "up-red", precondition="whiten")
    database = Database.open(settings.url)
    with database.reading() as session:
        record = QueryRepository(session).get(query["id"])
    database.close()
    assert record is not None
    assert record.gradient is not None
    stored = Searcher.open(settings.index_directory / "tiny", corpus.recipe.digest).vector("up-red")
    np.testing.assert_array_equal(unpack_gradient(record.gradient), stored)


def test_questions_of_a_batch_are_preconditioned_each_by_its_own(client: TestClient, corpus: Corpus) -> None:
    questions = [
        {"video": "v", "prompt": "a square", "precondition": "centre"},
        {"clip": "up-red", "precondition": "whiten", "damping": 2},
        {"clip": "up-red"},
    ]
    response = client.post(
        "/v1/queries/batch",
        files={"v": ("v.mp4", corpus.video("left-red").read_bytes(), "video/mp4")},
        data={"queries": json.dumps(questions)},
        headers={"Prefer": "wait=30"},
    )
    assert response.status_code == 201, response.text
    found = [(each["precondition"], each["damping"]) for each in response.json()["queries"]]
    assert found == [("centre", None), ("whiten", 2.0), ("none", None)]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"precondition": "middle"}, "precondition", "'none', 'centre' or 'whiten'"),
    ({"precondition": "whiten", "damping": 0}, "damping", "greater than or equal to 0.001"),
    ({"precondition": "whiten", "damping": 1e7}, "damping", "less than or equal to 1000000"),
    ({"precondition": "whiten", "damping": "nan"}, "damping", "damping"),
    ({"precondition": "whiten", "damping": "much"}, "damping", "valid number"),
]


@pytest.mark.parametrize(("fields", "field", "said"), WRONG)
def test_what_is_no_preconditioning_is_refused_by_field(
    reader: TestClient, corpus: Corpus, fields: dict[str, Any], field: str, said: str
) -> None:
    as_json = reader.post("/v1/queries", json={"clip": "up-red", **fields})
    as_form = ask(reader, corpus.video("up-red"), **fields)
    for response in (as_json, as_form):
        problem = assert_problem(response, 422, "invalid_parameters")
        assert [error["field"] for error in problem["errors"]] == [field]
        assert said in problem["detail"]


@pytest.mark.parametrize("fields", [{"precondition": "centre", "damping": 0.1}, {"damping": 0.1}])
def test_a_damping_without_whitening_is_refused(reader: TestClient, corpus: Corpus, fields: dict[str, Any]) -> None:
    clip = {"clip": "up-red", **fields}
    answers = [reader.post("/v1/queries", json=clip), ask(reader, corpus.video("up-red"), **fields)]
    answers.append(reader.post("/v1/queries/batch", json={"queries": [{"clip": "up-red"}, clip]}))
    for response in answers:
        problem = assert_problem(response, 422, "damping_without_whitening")
        assert [error["field"] for error in problem["errors"]] == ["damping"]
