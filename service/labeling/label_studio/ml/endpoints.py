"""The calls that Label Studio makes of an ML backend.

Each is there twice. Below /labeling/label-studio/ml the query is that of each task, below .../ml/queries/ID the one
that is named: of what can be said when a backend is connected, only its address comes with every call.
"""

from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from motiontrace.service.context import Service
from motiontrace.service.labeling.label_studio.ml.config import read_setup
from motiontrace.service.labeling.label_studio.ml.predicting import check_query, model_version, predictions
from motiontrace.service.labeling.label_studio.ml.schemas import (
    MAX_BODY_BYTES,
    MLHealth,
    MLHeard,
    MLPredictions,
    MLSetup,
    MLVersions,
    PredictCall,
    SetupCall,
)
from motiontrace.service.labeling.label_studio.setup import Setup, SetupError
from motiontrace.service.parameters import QueryId
from motiontrace.service.problem import ProblemError, documented, of_fields
from motiontrace.service.uploads import json_body

PREFIX = "/labeling/label-studio/ml"
Call = TypeVar("Call", bound=BaseModel)


async def _named(request: Request) -> str | None:
    """The query that the address names."""
    return request.path_params.get("query_id")


async def _check_id(query_id: QueryId) -> None:
    """See that what the address names can be the id of a query."""


async def _body(request: Request) -> bytes:
    """The body, which FastAPI's own reading would not bound."""
    return await json_body(request, MAX_BODY_BYTES)


Named = Annotated[str | None, Depends(_named)]
Body = Annotated[bytes, Depends(_body)]


async def get_ml_health() -> MLHealth:
    """Asked often; looks at nothing."""
    return MLHealth()


async def get_ml_versions(query_id: Named) -> MLVersions:
    """The one under which its predictions are filed."""
    return MLVersions(versions=[model_version(query_id)])


def set_up_ml_backend(service: Service, body: Body, query_id: Named) -> MLSetup:
    """Whether predictions can be made for the project. Nothing is kept of it, Label Studio's token neither."""
    _fit(_read(SetupCall, body).label_config)
    if query_id is not None:
        check_query(service, query_id)
    return MLSetup(model_version=model_version(query_id))


def predict_for_label_studio(service: Service, body: Body, query_id: Named) -> JSONResponse:
    """What is stored of the tasks' clips.

    That is when and where they move, what reviewers said of them, and as score their influence on the query's motion. A
    clip that the query does not rank has no prediction.
    """
    call = _read(PredictCall, body)
    found = predictions(service, [task.data for task in call.tasks], _fit(call.label_config), query_id)
    # Written here: FastAPI would do it between other calls, and Label Studio gives up on one of them after a second.
    return JSONResponse({"results": [[] if each is None else each for each in found]})


async def hear_of_changes() -> MLHeard:
    """Does nothing, and looks at nothing that is sent.

    Label Studio makes a webhook to here with every backend, and calls it without a credential. The project's own
    webhook brings the same news.
    """
    return MLHeard()


def _read(model: type[Call], body: bytes) -> Call:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise of_fields(error.errors(include_input=False)) from None  # what was sent holds Label Studio's token


def _fit(config: str) -> Setup:
    try:
        return read_setup(config)
    except SetupError as error:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "label_studio_setup",
            f"The project's labelling set-up is not fit for clips: it lacks {'; '.join(error.missing)}.",
            "Add what is missing under Settings, Labeling Interface, or connect a project that clips were pushed to.",
        ) from error


def _calls(prefix: str, *, described: bool) -> APIRouter:
    calls = APIRouter(prefix=prefix, tags=["labelling tools"], include_in_schema=described)
    calls.get("/health", summary="ML backend: is it there?", responses=documented())(get_ml_health)
    calls.get("/versions", summary="ML backend: its versions", responses=documented())(get_ml_versions)
    calls.post(
        "/setup",
        summary="ML backend: connect a project",
        openapi_extra=_sent(SetupCall),
        responses=documented(400, 404, 409, 413, 415, 422),
    )(set_up_ml_backend)
    calls.post(
        "/predict",
        summary="ML backend: predict",
        openapi_extra=_sent(PredictCall),
        response_model=MLPredictions,
        responses=documented(400, 409, 413, 415, 422),
    )(predict_for_label_studio)
    calls.post("/webhook", summary="ML backend: webhook", responses=documented())(hear_of_changes)
    return calls


def _sent(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place: no other call knows these models."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(each, definitions) for name, each in schema.items()}


router = APIRouter()
router.include_router(_calls(PREFIX, described=True))
router.include_router(_calls(f"{PREFIX}/queries/{{query_id}}", described=False), dependencies=[Depends(_check_id)])
