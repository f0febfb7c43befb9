"""The calls of /v1/labeling/label-studio."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field, ValidationError

from motiontrace.catalog.repositories.label_studio import LabelStudioRepository
from motiontrace.documents.label_studio import (
    MAX_NUMBER,
    UNFIT,
    KnownProject,
    KnownProjects,
    NewPush,
    PulledProject,
    PushedProject,
)
from motiontrace.service.context import Service
from motiontrace.service.labeling.label_studio.pull import pull
from motiontrace.service.labeling.label_studio.push import page_of, push
from motiontrace.service.labeling.label_studio.server import connected, failures_as_problems
from motiontrace.service.parameters import WRITTEN
from motiontrace.service.problem import ProblemError, documented, of_fields
from motiontrace.service.uploads import json_body

router = APIRouter(prefix="/v1/labeling/label-studio", tags=["labelling tools"])

MAX_BODY_BYTES = 1 << 20  # the largest filter, and the rest


def _body() -> dict[str, Any]:
    """The request body, as OpenAPI describes it; what it refers to comes with the other calls."""
    schema = NewPush.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs")
    return {"required": True, "content": {"application/json": {"schema": schema}}}


async def _sent(request: Request) -> NewPush:
    """Read the body, which FastAPI's own reading would not bound."""
    body = await json_body(request, MAX_BODY_BYTES)
    try:
        return NewPush.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        problem = of_fields(errors)
        if all(each["type"] == UNFIT for each in errors):
            raise ProblemError(
                problem.status, "unfit_push", problem.detail, "Correct the named fields.", errors=problem.errors
            ) from error
        raise problem from error


@router.post(
    "/projects",
    summary="Push clips to Label Studio",
    openapi_extra={"requestBody": _body()},
    responses=documented(400, 404, 409, 413, 415, 422, 502),
)
def push_to_label_studio(service: Service, asked: Annotated[NewPush, Depends(_sent)]) -> PushedProject:
    """Clips from both ends of queries' rankings become tasks of a project of Label Studio.

    Each comes with a suggested verdict and when and where it moves. What reviewers say there becomes the clips' labels.

    A clip is one task of a project: pushed again, clips that are there are left as they are, but for links to their
    videos that will not work for long any more. Thousands of clips take minutes.
    """
    with failures_as_problems():
        return push(service, connected(service), asked)


@router.get("/projects", summary="List projects of Label Studio", responses=documented(409))
def list_label_studio_projects(service: Service) -> KnownProjects:
    """The projects of the Label Studio that the settings name which clips were pushed to, the oldest first."""
    server = connected(service).url
    with service.database.reading() as session:
        projects = LabelStudioRepository(session).projects(server)
    return KnownProjects(
        projects=[
            KnownProject(
                id=each.project, url=page_of(service, each.project), title=each.title, created_at=each.created_at
            )
            for each in projects
        ]
    )


@router.post("/projects/{project}/pull", summary="Pull from Label Studio", responses=documented(404, 409, 422, 502))
def pull_from_label_studio(
    service: Service,
    project: Annotated[
        int, Field(ge=1, le=MAX_NUMBER), WRITTEN, Path(description="Label Studio's number of the project.")
    ],
) -> PulledProject:
    """All tasks of the project are read, and what reviewers say in them now becomes their clips' labels.

    Use it where a project's webhooks did not come, or came while this service was down.

    Harmless at any time. What was taken over before is not again, so what was said of a clip elsewhere since holds. A
    project that was never pushed to is taken up too: its tasks show the clip that their data name as `clip_id`.
    """
    with failures_as_problems():
        return pull(service.database, connected(service), project)
