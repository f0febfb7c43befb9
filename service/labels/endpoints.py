"""The calls of /v1/clips/{id}/labels."""

from itertools import accumulate
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session

from motiontrace.catalog.records import ClipRecord, LabelRecord
from motiontrace.catalog.repositories import ClipRepository, LabelRepository
from motiontrace.documents.labels import HISTORY_KEYFRAMES, HISTORY_LABELS, Label, Labels, NewLabel
from motiontrace.documents.regions import IMPOSSIBLE, MAX_KEYFRAMES, Box, TimeRange, last_moments
from motiontrace.service.context import Service
from motiontrace.service.parameters import ClipId
from motiontrace.service.problem import ProblemError, documented, invalid, not_found, of_fields
from motiontrace.service.uploads import json_body

router = APIRouter(prefix="/v1/clips/{clip_id}/labels", tags=["labels"])

MAX_BODY_BYTES = 1 << 20  # the longest texts, every character of them escaped, and the most keyframes


def _body() -> dict[str, Any]:
    """The request body, as OpenAPI describes it; what it refers to comes with the answers."""
    schema = NewLabel.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs")
    return {"required": True, "content": {"application/json": {"schema": schema}}}


async def _sent(request: Request) -> NewLabel:
    """Read the body, which FastAPI's own reading would not bound."""
    body = await json_body(
        request, MAX_BODY_BYTES, f"Mark less: the boxes of a label have at most {MAX_KEYFRAMES:,} keyframes together."
    )
    try:
        return NewLabel.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        told = of_fields(errors)
        if all(each["type"] == IMPOSSIBLE for each in errors):
            raise ProblemError(
                told.status,
                "impossible_region",
                told.detail,
                "Correct the named ranges and boxes; /docs says what holds for them.",
                errors=told.errors,
            ) from error
        raise told from error


@router.get("", summary="Read a clip's labels", responses=documented(404, 422))
def get_labels(service: Service, clip_id: ClipId) -> Labels:
    """What reviewers say of the clip, and what was said before."""
    with service.database.reading() as session:
        if ClipRepository(session).get(clip_id) is None:
            raise not_found("clip", clip_id, "/v1/clips")
        return _labels(session, clip_id)


@router.put(
    "", summary="Label a clip", openapi_extra={"requestBody": _body()}, responses=documented(400, 404, 413, 415, 422)
)
def put_labels(service: Service, clip_id: ClipId, label: Annotated[NewLabel, Depends(_sent)]) -> Labels:
    """Say what holds of the clip from now on; what was said before stays in the history.

    With neither verdict nor decision, range nor box the clip's label is withdrawn; a note says why. What says the same
    as the label before adds nothing.
    """
    with service.database.writing() as session:
        clip = ClipRepository(session).get(clip_id)
        if clip is None:
            raise not_found("clip", clip_id, "/v1/clips")
        _check_within(clip, label)
        LabelRepository(session).put(clip_id, **label.model_dump(mode="json"))
        return _labels(session, clip_id)


def _check_within(clip: ClipRecord, label: NewLabel) -> None:
    """Refuse what lies behind the clip's end, where that is known; a frame more is rounding."""
    if clip.seconds is None:
        return
    frame = 1 / clip.fps if clip.fps else 0.0
    for field, moment in last_moments(label.ranges, label.boxes):
        if moment > clip.seconds + frame:
            raise invalid(
                field,
                "behind_the_end",
                f"{field} is {moment:g} s, but the clip is {clip.seconds:g} s long.",
                "Give seconds from the start of this clip.",
            )


def _labels(session: Session, clip_id: str) -> Labels:
    labels = LabelRepository(session)
    current = labels.current([clip_id]).get(clip_id)
    newest = labels.history(clip_id, HISTORY_LABELS)
    keyframes = accumulate(sum(len(box["keyframes"]) for box in label.boxes) for label in newest)
    return Labels(
        clip=clip_id,
        current=None if current is None else _document(current),
        history=[
            _document(label) for label, count in zip(newest, keyframes, strict=True) if count <= HISTORY_KEYFRAMES
        ],
        history_total=labels.history_length(clip_id),
    )


def _document(label: LabelRecord) -> Label:
    return Label(
        verdict=label.verdict,
        decision=label.decision,
        note=label.note,
        author=label.author,
        tool=label.tool,
        ranges=tuple(map(TimeRange.model_validate, label.ranges)),
        boxes=tuple(map(Box.model_validate, label.boxes)),
        created_at=label.created_at,
    )
