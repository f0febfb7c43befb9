"""Labels over HTTP, and clips found by them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.documents.labels import HISTORY_KEYFRAMES, HISTORY_LABELS, Labels, NewLabel
from motiontrace.documents.regions import MAX_BOX_KEYFRAMES, MAX_BOXES, MAX_KEYFRAMES, MAX_RANGES
from motiontrace.service.labels.endpoints import MAX_BODY_BYTES
from tests.service.asking import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from pydantic import BaseModel

BOTH_DATABASES = True
LABELS = "/v1/clips/left-red/labels"  # of a clip of 12 frames, one second
RANGE = {"start": 0.1, "end": 0.5, "label": "bad motion"}
KEYFRAME = {"time": 0.25, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "visible": True}
BOX = {"label": "ball", "keyframes": [KEYFRAME, {**KEYFRAME, "time": 0.75, "visible": False}]}


def found(client: TestClient, **conditions: str) -> set[str]:
    return {clip["id"] for clip in client.get("/v1/clips", params=conditions).json()["clips"]}


def test_a_clip_is_labelled_relabelled_and_withdrawn(client: TestClient) -> None:
    assert client.get(LABELS).json() == {"clip": "left-red", "current": None, "history": [], "history_total": 0}
    first = {"verdict": "cartoon", "decision": "drop", "note": "flat\ncolours", "author": "kim", "tool": "curator"}
    said = client.put(LABELS, json=first)
    assert said.status_code == 200
    label = said.json()["current"]
    assert label.items() >= first.items()
    assert label["created_at"].endswith("Z")

    second = client.put(LABELS, json={"verdict": "realistic"}).json()
    assert second["current"].items() >= {"verdict": "realistic", "decision": None, "tool": "api"}.items()
    assert second["history"] == [second["current"], label]

    withdrawn = client.put(LABELS, json={"note": "unsure"}).json()
    assert withdrawn["current"] is None
    assert [each["note"] for each in withdrawn["history"]] == ["unsure", "", "flat\ncolours"]
    assert client.get(LABELS).json() == withdrawn


def test_a_label_marks_ranges_and_boxes(client: TestClient) -> None:
    marked = {"verdict": "unrealistic", "ranges": [RANGE], "boxes": [BOX]}
    said = client.put(LABELS, json=marked).json()
    assert said["current"].items() >= marked.items()
    assert said["history"] == [said["current"]]
    assert client.get(LABELS).json() == said
    short = {name: value for name, value in KEYFRAME.items() if name != "visible"}
    plain = client.put(LABELS, json={"boxes": [{"label": "", "keyframes": [short]}]}).json()["current"]
    assert (plain["verdict"], plain["ranges"]) == (None, [])
    assert plain["boxes"] == [{"label": "", "keyframes": [KEYFRAME]}]
    assert client.get("/v1/clips/left-red").json()["verdict"] is None
    assert "left-red" in found(client, without_verdict="unrealistic")


def test_a_label_that_is_sent_again_adds_nothing(client: TestClient) -> None:
    label = {"verdict": "unrealistic", "author": "kim", "ranges": [RANGE], "boxes": [BOX]}
    first = client.put(LABELS, json=label).json()
    assert client.put(LABELS, json=label).json() == first
    assert first["history_total"] == 1
    assert client.put(LABELS, json={**label, "boxes": []}).json()["history_total"] == 2


def test_a_long_history_is_given_in_part(client: TestClient) -> None:
    for number in range(HISTORY_LABELS + 2):
        answer = client.put(LABELS, json={"verdict": str(number)}).json()
    assert answer["history_total"] == HISTORY_LABELS + 2 == 102
    newest = [str(number) for number in range(101, 1, -1)]
    assert [label["verdict"] for label in answer["history"]] == newest
    assert client.get(LABELS).json() == answer


def test_a_history_of_many_keyframes_is_given_in_part(client: TestClient) -> None:
    per_label = 1000
    moments = [{**KEYFRAME, "time": number / per_label} for number in range(per_label)]
    enough = HISTORY_KEYFRAMES // per_label
    for number in range(enough + 2):
        boxes = [{"label": "ball", "keyframes": moments}]
        answer = client.put(LABELS, json={"verdict": str(number), "boxes": boxes}).json()
    assert answer["history_total"] == enough + 2
    assert [label["verdict"] for label in answer["history"]] == [str(enough + 1 - number) for number in range(enough)]
    assert answer["current"] == answer["history"][0]


def test_clips_show_their_label_and_are_found_by_it(client: TestClient) -> None:
    everyone = found(client)
    client.put(LABELS, json={"verdict": "cartoon", "decision": "drop"})
    client.put("/v1/clips/up blue/labels", json={"verdict": "realistic"})
    clip = client.get("/v1/clips/left-red").json()
    assert (clip["verdict"], clip["decision"]) == ("cartoon", "drop")
    listed = {clip["id"]: (clip["verdict"], clip["decision"]) for clip in client.get("/v1/clips").json()["clips"]}
    assert {clip_id: label for clip_id, label in listed.items() if label != (None, None)} == {
        "left-red": ("cartoon", "drop"),
        "up blue": ("realistic", None),
    }
    assert found(client, verdict="realistic") == {"up blue"}
    assert found(client, decision="drop") == {"left-red"}
    assert found(client, without_verdict="cartoon", index="tiny") == everyone - {"left-red"}
    assert found(client, without_decision="drop", metadata="motion:left") == set()
    client.put(LABELS, json={})
    assert found(client, without_decision="drop") == everyone


def test_an_unknown_clip_has_no_labels(client: TestClient) -> None:
    assert_problem(client.get("/v1/clips/nobody/labels"), 404, "clip_not_found")
    assert_problem(client.put("/v1/clips/nobody/labels", json={"verdict": "x"}), 404, "clip_not_found")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"verdict": ""}, "verdict"),
        ({"verdict": "x" * 65}, "verdict"),
        ({"verdict": "a\0b"}, "verdict"),
        ({"decision": "burn"}, "decision"),
        ({"note": "x" * 10_001}, "note"),
        ({"note": "a\nb\0"}, "note"),
        ({"author": "x" * 201}, "author"),
        ({"tool": ""}, "tool"),
        ({"label": "cartoon"}, "label"),
        ({"ranges": None}, "ranges"),
        ({"ranges": [{**RANGE, "start": -1}]}, "ranges.0.start"),
        ({"ranges": [RANGE] * (MAX_RANGES + 1)}, "ranges"),
        ({"boxes": [{"label": "ball", "keyframes": []}]}, "boxes.0.keyframes"),
        ({"boxes": [BOX, {**BOX, "keyframes": [{**KEYFRAME, "x": 1.5}]}]}, "boxes.1.keyframes.0.x"),
        ({"boxes": [{**BOX, "colour": "red"}]}, "boxes.0.colour"),
        ({"boxes": [BOX] * (MAX_BOXES + 1)}, "boxes"),
        ([], "body"),
    ],
)
def test_a_wrong_label_is_refused_by_its_field(reader: TestClient, sent: Any, field: str) -> None:
    problem = assert_problem(reader.put(LABELS, json=sent), 422, "invalid_parameters")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert reader.get(LABELS).json()["history"] == []


LONG = {"label": "", "keyframes": [{**KEYFRAME, "time": number / 1000} for number in range(MAX_BOX_KEYFRAMES)]}


@pytest.mark.parametrize(
    ("sent", "field", "why"),
    [
        ({"ranges": [RANGE, {**RANGE, "end": 0.05}]}, "ranges.1", "ends at 0.05 s, before its start at 0.1 s"),
        ({"boxes": [{**BOX, "keyframes": [{**KEYFRAME, "x": 0.8}]}]}, "boxes.0.keyframes.0", "x \\+ width is 1.1"),
        ({"boxes": [{**BOX, "keyframes": [KEYFRAME, KEYFRAME]}]}, "boxes.0.keyframes", "must increase"),
        ({"boxes": [LONG, LONG, BOX]}, "boxes", "2,000 keyframes together at most, these have 2,002"),
    ],
)
def test_a_region_that_cannot_be_is_refused_by_its_field(reader: TestClient, sent: Any, field: str, why: str) -> None:
    problem = assert_problem(reader.put(LABELS, json=sent), 422, "impossible_region")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert re.search(why, problem["detail"])
    assert reader.get(LABELS).json()["history"] == []


def test_a_label_with_a_wrong_field_beside_an_impossible_region_names_both(reader: TestClient) -> None:
    sent = {"verdict": "", "ranges": [{**RANGE, "end": 0.05}]}
    problem = assert_problem(reader.put(LABELS, json=sent), 422, "invalid_parameters")
    assert [error["field"] for error in problem["errors"]] == ["verdict", "ranges.0"]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"ranges": [RANGE, {**RANGE, "end": 1.1}]}, "ranges.1.end"),
        ({"boxes": [BOX, {**BOX, "keyframes": [KEYFRAME, {**KEYFRAME, "time": 7}]}]}, "boxes.1.keyframes.1.time"),
    ],
)
def test_what_lies_behind_the_clips_end_is_refused(reader: TestClient, sent: Any, field: str) -> None:
    problem = assert_problem(reader.put(LABELS, json=sent), 422, "behind_the_end")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert "the clip is 1 s long" in problem["detail"]
    assert reader.get(LABELS).json()["history"] == []


def test_a_frame_behind_the_end_is_rounding(client: TestClient) -> None:
    assert client.put(LABELS, json={"ranges": [{**RANGE, "end": 1 + 1 / 12}]}).status_code == 200


def test_where_a_clips_end_is_not_known_nothing_is_behind_it(client: TestClient) -> None:
    assert client.get("/v1/clips/broken").json()["seconds"] is None
    said = client.put("/v1/clips/broken/labels", json={"ranges": [{**RANGE, "end": 5000}]})
    assert said.json()["current"]["ranges"][0]["end"] == 5000


def test_the_largest_label_fits_into_the_body_however_it_is_written(client: TestClient) -> None:
    wide = "\U0001f600"  # twelve bytes where JSON is written in ASCII
    number = 0.12345678901234567
    keyframe = dict.fromkeys(("x", "y", "width", "height"), number) | {"visible": False}
    count = MAX_KEYFRAMES // MAX_BOXES
    moments = [{"time": number + each * 0.0123456789, **keyframe} for each in range(count)]
    label = {
        "verdict": wide * 64,
        "decision": "down_weight",
        "note": wide * 10_000,
        "author": wide * 200,
        "tool": wide * 64,
        "ranges": [{"start": number, "end": number * 2, "label": wide * 64}] * MAX_RANGES,
        "boxes": [{"label": wide * 64, "keyframes": moments}] * MAX_BOXES,
    }
    body = json.dumps(label, indent=1)
    assert MAX_BODY_BYTES // 2 < len(body) < MAX_BODY_BYTES
    said = client.put(LABELS, content=body, headers={"content-type": "application/json"})
    assert said.json()["current"].items() >= label.items()


def test_a_body_that_is_too_long_says_how_much_a_label_holds(reader: TestClient) -> None:
    body = json.dumps({"boxes": [LONG] * 20})
    response = reader.put(LABELS, content=body, headers={"content-type": "application/json"})
    assert "2,000 keyframes" in assert_problem(response, 413, "body_too_large")["todo"]


def test_a_body_that_is_wrong_everywhere_is_told_in_part(reader: TestClient) -> None:
    problem = assert_problem(reader.put(LABELS, json=dict.fromkeys(map(str, range(5000)))), 422, "invalid_parameters")
    assert len(problem["errors"]) == 20
    assert problem["detail"].endswith("; and 4,980 more")


@pytest.mark.parametrize("body", [b'{"note": "\\ud800"}', b'{"\\ud800": 1}', b"{", b"", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_document_is_refused(reader: TestClient, body: bytes) -> None:
    response = reader.put(LABELS, content=body, headers={"content-type": "application/json"})
    assert_problem(response, 422, "invalid_parameters")


@pytest.mark.parametrize("model", [NewLabel, Labels])
def test_examples_are_what_is_sent(model: type[BaseModel]) -> None:
    for example in model.model_json_schema()["examples"]:
        assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example
