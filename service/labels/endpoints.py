"""The calls of /v1/clips/{id}/labels."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session

from catalog.records import LabelRecord
from catalog.repositories import ClipRepository, LabelRepository
from service.context import Service
from service.labels.schemas import Label, Labels, NewLabel
from service.parameters import ClipId
from service.problem import documented, not_found, of_fields
from service.uploads import json_body

router = APIRouter(prefix="/v1/clips/{clip_id}/labels", tags=["labels"])

MAX_BODY_BYTES = 128 << 10  # the longest note, every character of it escaped, and the rest
BODY = {"required": True, "content": {"application/json": {"schema": NewLabel.model_json_schema()}}}


async def _sent(request: Request) -> NewLabel:
    """Read the body, which FastAPI's own reading would not bound."""
    try:
        return NewLabel.model_validate_json(await json_body(request, MAX_BODY_BYTES))
    except ValidationError as error:
        raise of_fields(error.errors()) from error


@router.get("", summary="Read a clip's labels", responses=documented(404, 422))
def get_labels(service: Service, clip_id: ClipId) -> Labels:
    """What reviewers say of the clip, and what was said before."""
    with service.database.reading() as session:
        if ClipRepository(session).get(clip_id) is None:
            raise not_found("clip", clip_id, "/v1/clips")
        return _labels(session, clip_id)


@router.put(
    "", summary="Label a clip", openapi_extra={"requestBody": BODY}, responses=documented(400, 404, 413, 415, 422)
)
def put_labels(service: Service, clip_id: ClipId, label: Annotated[NewLabel, Depends(_sent)]) -> Labels:
    """Say what holds of the clip from now on; what was said before stays in the history.

    With neither verdict nor decision the clip's label is withdrawn.
    """
    with service.database.writing() as session:
        try:
            LabelRepository(session).put(clip_id, **label.model_dump())
        except LookupError as error:
            raise not_found("clip", clip_id, "/v1/clips") from error
        return _labels(session, clip_id)


def _labels(session: Session, clip_id: str) -> Labels:
    labels = LabelRepository(session)
    current = labels.current([clip_id]).get(clip_id)
    return Labels(
        clip=clip_id,
        current=None if current is None else _document(current),
        history=[_document(label) for label in labels.history(clip_id)],
    )


def _document(label: LabelRecord) -> Label:
    return Label(
        verdict=label.verdict,
        decision=label.decision,
        note=label.note,
        author=label.author,
        tool=label.tool,
        created_at=label.created_at,
    )
