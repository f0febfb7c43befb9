"""Labels over HTTP, and clips found by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.labels.schemas import Labels, NewLabel
from tests.service.asking import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from pydantic import BaseModel

BOTH_DATABASES = True
LABELS = "/v1/clips/left-red/labels"


def found(client: TestClient, **conditions: str) -> set[str]:
    return {clip["id"] for clip in client.get("/v1/clips", params=conditions).json()["clips"]}


def test_a_clip_is_labelled_relabelled_and_withdrawn(client: TestClient) -> None:
    assert client.get(LABELS).json() == {"clip": "left-red", "current": None, "history": []}
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
        ([], "body"),
    ],
)
def test_a_wrong_label_is_refused_by_its_field(reader: TestClient, sent: Any, field: str) -> None:
    problem = assert_problem(reader.put(LABELS, json=sent), 422, "invalid_parameters")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert reader.get(LABELS).json()["history"] == []


@pytest.mark.parametrize("body", [b'{"note": "\\ud800"}', b'{"\\ud800": 1}', b"{", b"", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_document_is_refused(reader: TestClient, body: bytes) -> None:
    response = reader.put(LABELS, content=body, headers={"content-type": "application/json"})
    assert_problem(response, 422, "invalid_parameters")


@pytest.mark.parametrize("model", [NewLabel, Labels])
def test_examples_are_what_is_sent(model: type[BaseModel]) -> None:
    for example in model.model_json_schema()["examples"]:
        assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example
