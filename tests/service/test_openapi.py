"""What /openapi.json promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.documents.base import Problem
from motiontrace.documents.clips import Clip, ClipPage
from motiontrace.documents.indexes import Index, IndexList
from motiontrace.documents.queries import Query, QueryPage
from motiontrace.formats.media_types import MEDIA_TYPES, OTHER_TYPE
from motiontrace.service.health import Health, Readiness

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from pydantic import BaseModel


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {call["operationId"]: call for path in document["paths"].values() for call in path.values()}


def test_operation_ids_read_well(reader: TestClient) -> None:
    assert set(operations(reader.get("/openapi.json").json())) == {
        "create_query",
        "create_queries",
        "list_queries",
        "get_query",
        "delete_query",
        "get_query_events",
        "list_ranking",
        "export_ranking",
        "get_labels",
        "put_labels",
        "get_metrics",
        "list_clips",
        "get_clip",
        "get_clip_video",
        "head_clip_video",
        "get_clip_thumbnail",
        "head_clip_thumbnail",
        "list_indexes",
        "get_index",
        "get_health",
        "get_readiness",
        "get_linked_video",
        "head_linked_video",
        "get_ml_health",
        "get_ml_versions",
        "set_up_ml_backend",
        "predict_for_label_studio",
        "hear_of_changes",
        "push_to_label_studio",
        "list_label_studio_projects",
        "pull_from_label_studio",
        "label_studio_webhook",
    }


def test_every_json_answer_has_an_example_and_every_error_is_a_problem(reader: TestClient) -> None:
    document = reader.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for name, call in operations(document).items():
        assert call["summary"], name
        assert call["description"], name
        for status, answer in call["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
            for content in answer.get("content", {}).values():
                reference = (content["schema"] if "schema" in content else content["itemSchema"]).get("$ref", "")
                assert not reference or schemas[reference.rpartition("/")[2]]["examples"], (name, status)
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()


def test_the_form_of_a_query_is_described_with_an_example(reader: TestClient) -> None:
    body = operations(reader.get("/openapi.json").json())["create_query"]["requestBody"]
    form = body["content"]["multipart/form-data"]
    assert form["schema"]["required"] == ["video", "prompt"]
    fields = {"video", "prompt", "k", "index", "filter", "precondition", "damping"}
    assert form["example"].keys() == form["schema"]["properties"].keys() == fields


def test_the_bodies_of_a_batch_are_described_with_examples(reader: TestClient) -> None:
    document = reader.get("/openapi.json").json()
    content = operations(document)["create_queries"]["requestBody"]["content"]
    assert content.keys() == {"multipart/form-data", "application/json"}
    assert all(body["example"]["queries"] for body in content.values())
    assert "Filter" in document["components"]["schemas"]  # which the bodies refer to


def test_the_types_that_media_are_sent_as_are_described(reader: TestClient) -> None:
    calls = operations(reader.get("/openapi.json").json())
    sent = {200: {*MEDIA_TYPES.values(), OTHER_TYPE}, 206: {*MEDIA_TYPES.values(), OTHER_TYPE, "multipart/byteranges"}}
    for status, types in sent.items():
        for call in ("get_clip_video", "get_linked_video"):
            assert calls[call]["responses"][str(status)]["content"].keys() == types
    assert "multipart/byteranges" in calls["get_clip_thumbnail"]["responses"]["206"]["content"]


@pytest.mark.parametrize("model", [Query, QueryPage, Clip, ClipPage, Index, IndexList, Problem, Health, Readiness])
def test_examples_are_what_the_service_would_send(model: type[BaseModel]) -> None:
    for example in model.model_json_schema()["examples"]:
        assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example
