"""What the calls that ask are sent, beside the videos themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, ValidationError

from motiontrace.documents.base import NO_NUL, VISIBLE, WHOLE, Real
from motiontrace.documents.filters import Filter
from motiontrace.preconditions import DAMPING, MAX_DAMPING, MIN_DAMPING, Precondition
from motiontrace.service.parameters import WRITTEN_NUMBER
from motiontrace.service.problem import invalid, of_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PROMPT = 10_000  # characters
MAX_K = 1000
MAX_BATCH = 64  # queries
MAX_JSON_BYTES = 1 << 20

Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT, pattern=VISIBLE)]


class _Body(BaseModel):
    """What a call is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, fields: Any) -> Self:
        """Read JSON values, or a JSON text as bytes.

        Raises:
            ProblemError: 422 that names each field at fault.
        """
        try:
            return cls.model_validate_json(fields) if isinstance(fields, bytes) else cls.model_validate(fields)
        except ValidationError as error:
            raise of_fields(error.errors()) from error


class _Question(_Body):
    """What every question has."""

    k: Annotated[
        int,
        Field(strict=True, ge=1, le=MAX_K, description="How many clips to give from each end of the ranking."),
        WHOLE,
    ] = 10
    index: str | None = Field(default=None, description="The index to ask; may be left out where there is only one.")
    filter: Filter | None = Field(default=None, description="Which clips to rank; left out: all that move.")
    precondition: Precondition = Field(
        default="none",
        description="How the query is seen against what all clips of the index share. centre: their mean is taken off, "
        "so that scores have mean 0. whiten: (G^T G / N + lambda I)^-1 is applied, so that directions count the more "
        "the rarer they are.",
    )
    damping: Annotated[Real, Field(ge=MIN_DAMPING, le=MAX_DAMPING)] | None = Field(
        default=None,
        description=f"To whiten: lambda as a multiple of the mean eigenvalue of G^T G / N; {DAMPING:g} where left out.",
    )


class VideoQuestion(_Question):
    """Which clips taught the motion of a video?"""

    prompt: Prompt = Field(description="The prompt that the video was generated from.")

    @classmethod
    def of_form(cls, texts: Mapping[str, str]) -> Self:
        """Read a form's text fields, of which the filter and numbers are JSON; raises as `of`."""
        fields: dict[str, Any] = dict(texts)
        for name in {"k", "damping"} & fields.keys():
            if WRITTEN_NUMBER.fullmatch(texts[name]):
                fields[name] = json.loads(texts[name])
        if "filter" in fields:
            fields["filter"] = read_json("filter", texts["filter"])
        return cls.of(fields)


class ClipQuestion(_Question):
    """Which clips move like this one?"""

    clip: str = Field(min_length=1, max_length=200, pattern=NO_NUL, description="A clip of the index.")


class AttachedVideoQuestion(VideoQuestion):
    """A question of a batch, about a video that comes in the same form."""

    video: str = Field(min_length=1, max_length=200, description="The form's field that holds the video.")


def _kind(question: Any) -> str:
    return "clip" if isinstance(question, dict) and "clip" in question else "video"


class Batch(_Body):
    """Several questions in one call."""

    queries: Annotated[
        list[
            Annotated[
                Annotated[AttachedVideoQuestion, Tag("video")] | Annotated[ClipQuestion, Tag("clip")],
                Discriminator(_kind),
            ]
        ],
        Field(min_length=1, max_length=MAX_BATCH),
    ]


def read_json(field: str, text: str) -> Any:
    """A form's field that is written as JSON.

    Raises:
        ProblemError: 422, it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(
            field, "not_json", f"The field '{field}' is not JSON: {error}.", "Write it as JSON, in double quotes."
        ) from error


def _plain(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("description", None)
    schema.pop("$defs", None)
    return schema


def _bodies() -> dict[str, Any]:
    """The request body of a query, as OpenAPI describes it."""
    form = _plain(VideoQuestion)
    form["properties"]["video"] = {
        "type": "string",
        "format": "binary",
        "description": "The generated video, in any format that FFmpeg reads. Its file name is not used.",
    }
    form["properties"]["filter"] = {"type": "string", "description": "A Filter written as JSON."}
    damping = form["properties"]["damping"]
    del damping["default"]
    damping |= next(each for each in damping.pop("anyOf") if each["type"] == "number")  # a form has no null
    form["required"] = ["video", "prompt"]
    example: dict[str, Any] = {"video": "(the file's bytes)", "prompt": "a ball bounces", "k": 10, "index": "demo"}
    example |= {"filter": '{"metadata": {"motion": ["bounce"]}}', "precondition": "whiten", "damping": 0.1}
    clip = {"schema": _plain(ClipQuestion), "example": {"clip": "bounce-0412", "k": 10}}
    content = {"multipart/form-data": {"schema": form, "example": example}, "application/json": clip}
    return {"required": True, "content": content}


def _batch_bodies() -> dict[str, Any]:
    """The request body of a batch, as OpenAPI describes it."""
    form = {
        "type": "object",
        "properties": {"queries": {"type": "string", "description": "The questions: a JSON array."}},
        "required": ["queries"],
        "additionalProperties": {
            "type": "string",
            "format": "binary",
            "description": "The videos, each in the field that its question names.",
        },
    }
    example = {
        "queries": '[{"video": "first", "prompt": "a ball bounces"}, {"clip": "bounce-0412"}]',
        "first": "(the file's bytes)",
    }
    clips = {"type": "array", "items": _plain(ClipQuestion), "minItems": 1, "maxItems": MAX_BATCH}
    body = {
        "type": "object",
        "properties": {"queries": clips},
        "required": ["queries"],
        "additionalProperties": False,
    }
    plain = {"schema": body, "example": {"queries": [{"clip": "bounce-0412"}, {"clip": "fall-0007", "k": 3}]}}
    content = {"multipart/form-data": {"schema": form, "example": example}, "application/json": plain}
    return {"required": True, "content": content}


BODIES = _bodies()
BATCH_BODIES = _batch_bodies()
