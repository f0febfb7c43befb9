"""What Label Studio's calls of its ML backend are answered: predictions, and refusals of what is not ours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.records import EntryRecord, QueryRecord
from motiontrace.catalog.repositories import LabelRepository
from motiontrace.service.labeling.label_studio.ml.config import read_setup
from motiontrace.service.labeling.label_studio.ml.schemas import MAX_BODY_BYTES, MAX_CONFIG, MAX_TASKS
from motiontrace.service.labeling.label_studio.setup import CONTROLS, Setup, SetupError, label_config
from tests.service.asking import assert_problem
from tests.service.labeling.ml_calls import CONFIG, ML, STUDIOS_TOKEN, predict_call, setup_call, task
from tests.service.labeling.projects import PROJECT

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

BOTH_DATABASES = True
REGION = {
    "ranges": [{"start": 0.25, "end": 1.0}],
    "boxes": [{"keyframes": [
        {"time": 0.25, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "visible": True},
        {"time": 1.0, "x": 0.5, "y": 0.2, "width": 0.3, "height": 0.4, "visible": False},
    ]}],
}  # fmt: skip


def predicted(client: TestClient, *tasks: Any, at: str = ML, **more: Any) -> list[Any]:
    """The results for these tasks."""
    answer = client.post(f"{at}/predict", json=predict_call(*tasks, **more))
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"results"}
    results: list[Any] = answer.json()["results"]
    assert len(results) == len(tasks)
    return results


@pytest.fixture
def query(client: TestClient) -> str:
    """A query that is done, which the clips of the index have regions for."""
    context = client.app.state.context  # type: ignore[attr-defined]
    with context.database.writing() as session:
        for entry in session.query(EntryRecord):
            entry.motion_region = REGION
    identity: str = client.post("/v1/queries", json={"clip": "up-red", "k": 2}).json()["id"]
    return identity


def scores(client: TestClient, query: str) -> dict[str, float]:
    """The query's scores of all clips that it ranks, on Label Studio's scale of 0 to 1."""
    ranking = client.get(f"/v1/queries/{query}/clips?limit=200").json()["clips"]
    return {hit["id"]: (1 + hit["score"]) / 2 for hit in ranking}


def test_it_is_there_says_its_version_and_takes_our_set_up(client: TestClient, query: str) -> None:
    for at, version in ((ML, "motiontrace"), (f"{ML}/queries/{query}", f"motiontrace-{query[:8]}")):
        assert client.get(f"{at}/health").json() == {"status": "UP", "model_class": "motiontrace"}
        assert client.post(f"{at}/setup", json=setup_call()).json() == {"model_version": version}
        assert client.get(f"{at}/versions").json() == {"versions": [version]}
        assert predicted(client, task(clip_id="up blue", query_id=query), at=at)[0]["model_version"] == version


def test_a_prediction_is_what_is_stored_of_the_clip(client: TestClient, query: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        LabelRepository(session).put("up blue", verdict="cartoon", decision=None, tool="api")
    (found,) = predicted(client, task(clip_id="up blue", query_id=query))
    assert found["score"] == pytest.approx(scores(client, query)["up blue"], abs=1e-4)
    verdict, segment, box = found["result"]
    assert (verdict["from_name"], verdict["value"]) == ("verdict", {"choices": ["cartoon"]})
    # 0.25 and 1 s at 8 frames a second, counted from 1.
    assert (segment["from_name"], segment["value"]["ranges"]) == ("segment", [{"start": 3, "end": 9}])
    assert [(each["frame"], each["x"], each["enabled"]) for each in box["value"]["sequence"]] == [
        (3, 10, True),
        (9, 50, False),
    ]


def test_frames_are_counted_by_the_rate_that_the_task_names(client: TestClient, query: str) -> None:
    for fps, frames in ((4.0, (2, 5)), ("16", (5, 17)), (None, (7, 25)), ("fast", (7, 25))):  # 24 is Label Studio's own
        (found,) = predicted(client, task(clip_id="up blue", query_id=query, fps=fps))
        assert found["result"][0]["value"]["ranges"] == [{"start": frames[0], "end": frames[1]}]


def test_every_clip_that_the_query_ranks_has_a_prediction_not_only_both_ends(client: TestClient, query: str) -> None:
    known = scores(client, query)
    assert len(known) > 2 * 2  # of which the query's own answer holds k at each end
    found = predicted(client, *(task(clip_id=each, query_id=query) for each in known))
    assert [each["score"] for each in found] == pytest.approx(list(known.values()), abs=1e-4)


def test_a_preconditioned_query_predicts_by_its_own_scores(client: TestClient, query: str) -> None:
    asked = {"clip": "up-red", "precondition": "centre"}
    centred = client.post("/v1/queries", json=asked).json()["id"]
    known = scores(client, centred)
    found = predicted(client, *(task(clip_id=each, query_id=centred) for each in known))
    assert [each["score"] for each in found] == pytest.approx(list(known.values()), abs=1e-4)
    assert known != scores(client, query)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"clip_id": "none"},
        {"clip_id": "still"},
        {"clip_id": "broken"},
        {"clip_id": None},
        {"clip_id": 7},
        {"clip_id": ["up blue"]},
        {"clip_id": "a\0b"},
        {"clip_id": "x" * 10_000},
        {"clip_id": "up-red"},  # the query is about it
        {"clip_id": "up blue", "query_id": "none"},
        {"clip_id": "up blue", "query_id": None},
        {"clip_id": "up blue", "query_id": {"a": 1}},
        {"clip_id": "up blue", "query_id": "a\0b"},
    ],
)
def test_what_nothing_is_known_of_has_no_prediction_and_spoils_no_other(
    client: TestClient, query: str, data: dict[str, Any]
) -> None:
    asked = {"query_id": query, **data}
    first, second, third = predicted(
        client, task(clip_id="up blue", query_id=query), task(**asked), task(clip_id="left-red", query_id=query)
    )
    assert second == []
    assert (first["score"], third["score"]) == pytest.approx(
        tuple(scores(client, query)[clip] for clip in ("up blue", "left-red")), abs=1e-4
    )


def test_tasks_of_several_queries_are_each_scored_by_their_own(client: TestClient, query: str) -> None:
    other = client.post("/v1/queries", json={"clip": "left-red"}).json()["id"]
    found = predicted(client, *(task(clip_id="up blue", query_id=each) for each in (query, other)))
    assert [each["score"] for each in found] == pytest.approx(
        [scores(client, each)["up blue"] for each in (query, other)], abs=1e-4
    )
    assert found[0]["score"] != found[1]["score"]
    assert {each["model_version"] for each in found} == {"motiontrace"}  # as its setup says, else it is asked for ever


def test_a_query_in_the_address_scores_all_tasks(client: TestClient, query: str) -> None:
    other = client.post("/v1/queries", json={"clip": "left-red"}).json()["id"]
    asked = [task(clip_id="up blue", query_id=query), task(clip_id="up blue")]
    for found in predicted(client, *asked, at=f"{ML}/queries/{other}"):
        assert found["score"] == pytest.approx(scores(client, other)["up blue"], abs=1e-4)
        assert found["model_version"] == f"motiontrace-{other[:8]}"


def test_an_annotator_who_draws_gets_the_same(client: TestClient, query: str) -> None:
    drawn = {"result": [{"id": "b9", "from_name": "box", "to_name": "video", "type": "videorectangle", "value": {}}]}
    asked = task(clip_id="up blue", query_id=query) | {"drafts": [], "annotations": [{"result": drawn["result"]}]}
    assert predicted(client, asked, context=drawn) == predicted(client, task(clip_id="up blue", query_id=query))


def test_only_what_the_set_up_offers_is_predicted(client: TestClient, query: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        LabelRepository(session).put("up blue", verdict="wobbly", decision="drop", tool="api")
    asked = task(clip_id="up blue", query_id=query)
    (found,) = predicted(client, asked)
    assert [each["from_name"] for each in found["result"]] == ["segment", "box"]
    (found,) = predicted(client, asked, config=label_config(["wobbly"]))
    assert [each["from_name"] for each in found["result"]] == ["verdict", "segment", "box"]
    (found,) = predicted(client, asked, config=CONFIG.replace("influential motion", "other"))
    assert [each["from_name"] for each in found["result"]] == ["box"]


def test_an_unknown_query_in_the_address_fails_when_it_is_connected(client: TestClient) -> None:
    assert_problem(client.post(f"{ML}/queries/none/setup", json=setup_call()), 404, "query_not_found")
    assert predicted(client, task(clip_id="up blue"), at=f"{ML}/queries/none") == [[]]


@pytest.mark.parametrize("name", ["%00", "a%00b", "x" * 1001])
def test_an_address_that_names_what_can_be_no_query_is_refused(client: TestClient, name: str) -> None:
    assert_problem(client.post(f"{ML}/queries/{name}/setup", json=setup_call()), 422, "invalid_parameters")
    assert_problem(client.post(f"{ML}/queries/{name}/predict", json=predict_call()), 422, "invalid_parameters")


def test_a_query_that_is_not_done_fails_when_it_is_connected(client: TestClient, query: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        session.get_one(QueryRecord, query).status = "failed"
    assert_problem(client.post(f"{ML}/queries/{query}/setup", json=setup_call()), 409, "query_not_done")
    assert predicted(client, task(clip_id="up blue", query_id=query)) == [[]]


@pytest.mark.parametrize(
    ("config", "lacks"),
    [
        ("", "XML that can be read"),
        ("<View>", "XML that can be read"),
        ("<View/>", "Choices named 'verdict'"),
        (CONFIG.replace("$fps", "24"), 'frameRate="$fps"'),
        (CONFIG.replace('name="segment" toName="video"', 'name="segment" toName="caption"'), "TimelineLabels"),
        (
            CONFIG.replace('<Choices name="verdict"', '<Rating name="verdict"', 1).replace(
                "</Choices>", "</Rating>", 1
            ),
            "Choices named 'verdict'",
        ),
        ('<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><View>&b;</View>', "XML without a document type"),
    ],
)
def test_a_set_up_that_is_not_ours_is_refused_with_what_it_lacks(client: TestClient, config: str, lacks: str) -> None:
    assert (
        lacks
        in assert_problem(client.post(f"{ML}/setup", json=setup_call(schema=config)), 409, "label_studio_setup")[
            "detail"
        ]
    )
    refused = client.post(f"{ML}/predict", json=predict_call(task(clip_id="up blue"), config=config))
    assert lacks in assert_problem(refused, 409, "label_studio_setup")["detail"]


NAMES = [*CONTROLS, *(f"control{number}" for number in range(10_000))]


@pytest.mark.parametrize(
    "elements",
    [
        [f'<Choices name="{name}" toName="video">' for name in NAMES],
        ['<Choices name="verdict" toName="video">'] * 20_000,
        ["<Choices>"] * 50_000,
        [f'<{CONTROLS[name][0]} name="{name}" toName="{"video," * 20_000}">' for name in CONTROLS],
    ],
    ids=["names", "one name", "no names", "many objects"],
)
def test_no_set_up_takes_more_time_than_its_length_does(client: TestClient, elements: list[str]) -> None:
    tags = [element[1:].split(">")[0].split(" ")[0] for element in elements]
    config = "".join(elements) + "<Choice value='a'/>" * 100 + "".join(f"</{tag}>" for tag in reversed(tags))
    assert 200_000 < len(config) <= MAX_CONFIG
    begun = time.thread_time()
    with pytest.raises(SetupError):
        read_setup(config)
    assert time.thread_time() - begun < 10  # seconds; read by nesting it took over a minute
    assert_problem(client.post(f"{ML}/setup", json=setup_call(schema=config)), 409, "label_studio_setup")


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SetupError, match="several controls are named 'note'"):
        read_setup(CONFIG.replace("</View>", '<TextArea name="note" toName="caption"/></View>'))


def test_a_set_up_is_read_as_label_studio_reads_it() -> None:
    assert read_setup(PROJECT["label_config"]) == Setup.of(PROJECT)
    aliased = CONFIG.replace('<Choice value="cartoon" />', '<Choice value="Cartoon!" alias="cartoon"/>')
    assert aliased != CONFIG
    assert read_setup(aliased) == read_setup(CONFIG)
    for name in CONTROLS:
        with pytest.raises(SetupError, match=name):
            read_setup(CONFIG.replace(f'name="{name}"', 'name="another"'))


@pytest.mark.parametrize("part", ["setup", "predict"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b"null", b'{"schema": 1, "tasks": {}, "label_config": null}']
)
def test_a_body_that_is_something_else_is_refused(client: TestClient, part: str, body: bytes) -> None:
    sent = client.post(f"{ML}/{part}", content=body, headers={"Content-Type": "application/json"})
    assert_problem(sent, 422, "invalid_parameters")


def test_bodies_are_bounded_and_must_be_json(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    huge = client.post(f"{ML}/predict", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert_problem(huge, 413, "body_too_large")
    many = client.post(f"{ML}/predict", json=predict_call(*[{"data": {}}] * (MAX_TASKS + 1)))
    assert_problem(many, 422, "invalid_parameters")
    assert_problem(client.post(f"{ML}/setup", content=b"schema"), 415, "not_json")


def test_a_refusal_repeats_nothing_of_what_was_sent(client: TestClient) -> None:
    refused = client.post(f"{ML}/setup", json={"access_token": STUDIOS_TOKEN, "schema": [STUDIOS_TOKEN]})
    assert_problem(refused, 422, "invalid_parameters")
    assert STUDIOS_TOKEN not in refused.text
