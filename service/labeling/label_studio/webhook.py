"""What Label Studio calls when something was said: it notes which tasks are to be read again, and nothing else.

Bodies are neither logged nor stored: Label Studio puts a project's secrets into them. They are not signed, so nothing
in them is believed but which task to look at.
"""

import hmac
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, Field, ValidationError

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.repositories.label_studio import MAX_NUMBER, LabelStudioRepository
from motiontrace.documents.label_studio import Noted
from motiontrace.service.context import Context, Service
from motiontrace.service.labeling.label_studio.callback import HEADER, PATH
from motiontrace.service.labeling.label_studio.server import connected
from motiontrace.service.problem import ProblemError, documented, of_fields
from motiontrace.service.uploads import json_body

router = APIRouter(tags=["labelling tools"])

MAX_BODY_BYTES = 16 << 20  # hundreds of the longest annotations
ATTEMPTS, PAUSE_SECONDS = 3, 0.1  # to note an event; the second pause is twice as long


class _Event(BaseModel):
    action: str


class _Numbered(BaseModel):
    id: Annotated[int, Field(ge=1, le=MAX_NUMBER, strict=True)]


class _Said(BaseModel):
    """Annotations were made or changed: of one task, or of several."""

    project: _Numbered
    task: _Numbered | list[_Numbered]


class _TakenBack(BaseModel):
    """Annotations were deleted. The event does not name their tasks."""

    project: _Numbered
    annotations: list[_Numbered]


EVENTS: dict[str, type[_Said | _TakenBack]] = {
    "ANNOTATION_CREATED": _Said,
    "ANNOTATIONS_CREATED": _Said,
    "ANNOTATION_UPDATED": _Said,
    "ANNOTATIONS_DELETED": _TakenBack,
}


@router.post(
    PATH,
    summary="Hear of a change in Label Studio",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
    responses=documented(400, 401, 409, 413, 415, 422),
)
async def label_studio_webhook(
    service: Service,
    request: Request,
    secret: Annotated[str, Header(alias=HEADER, description="What this service gave its webhook to bring.")] = "",
) -> Noted:
    """Label Studio calls this one, by the webhook that a push sets up: the tasks that it tells of are read again soon.

    No API key is asked for. Projects that nothing was pushed to and events of other kinds are passed over.
    """
    _check(secret, service.webhook_secret)
    connected(service)
    todo = "Pull the project, which reads all of its tasks."
    body = await json_body(request, MAX_BODY_BYTES, todo)
    noted = await run_sync(_note, service, body)
    if noted and service.inbox is not None:
        service.inbox.wake()
    return Noted(noted=noted)


def _check(secret: str, wanted: str) -> None:
    """Refuse other callers before the body is read."""
    if not hmac.compare_digest(secret.encode("latin-1", "replace"), wanted.encode()):
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "webhook_secret",
            f"The header {HEADER} does not bring the secret of this service's webhook.",
            "Push to the project again: that sets its webhook right.",
            headers={"www-authenticate": HEADER},
        )


def _note(service: Context, body: bytes) -> int:
    """Note the tasks that an event is about; returns how many.

    Raises:
        ProblemError: 422, it is no event.
    """
    try:
        kind = EVENTS.get(_Event.model_validate_json(body).action)
        event = None if kind is None else kind.model_validate_json(body)
    except ValidationError as error:
        raise of_fields(error.errors()) from error
    if event is None:
        return 0
    for attempt in range(1, ATTEMPTS):
        with suppress(DatabaseUnavailableError):  # a deadlock, a lost connection: Label Studio does not send it again
            return _note_event(service, event)
        time.sleep(attempt * PAUSE_SECONDS)  # so that others who wait for the same rows get them first
    return _note_event(service, event)


def _note_event(service: Context, event: _Said | _TakenBack) -> int:
    with service.database.writing() as session:
        repository = LabelStudioRepository(session)
        project = repository.project(connected(service).url, event.project.id)
        if project is None:
            return 0
        if isinstance(event, _TakenBack):
            # Nobody knows which annotations are being taken over at this moment: whatever is being read is read
            # again. This comes before the look-up, so that one of the two sees what is taken over in between.
            repository.read_again(project.id)
            tasks = repository.tasks_of_annotations(project.id, {each.id for each in event.annotations})
        else:
            tasks = {each.id for each in (event.task if isinstance(event.task, list) else [event.task])}
        repository.note(project.id, tasks)
    return len(tasks)
