"""Parts of a clip that reviewers mark: ranges of its time, and boxes in its picture that may move."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, PydanticKnownError

from motiontrace.documents.base import NO_NUL, Document

MAX_RANGES = 100
MAX_BOXES = 100
MAX_BOX_KEYFRAMES = 1000
MAX_KEYFRAMES = 2000  # of all boxes of a label together
MAX_SECONDS = 1_000_000.0  # longer than any clip: frames and milliseconds can be counted from it
TOLERANCE = 1e-6  # of the picture: what rounding may bring a box beyond its edge
IMPOSSIBLE = "impossible_region"  # type of the errors about numbers that are in range each, but not together

RANGE: JsonDict = {"start": 1.25, "end": 2.5, "label": "bad motion"}
KEYFRAMES: tuple[JsonDict, ...] = (
    {"time": 1.25, "x": 0.1, "y": 0.2, "width": 0.25, "height": 0.5, "visible": True},
    {"time": 2.5, "x": 0.6, "y": 0.2, "width": 0.25, "height": 0.5, "visible": False},
)
BOX: JsonDict = {"label": "moving object", "keyframes": list(KEYFRAMES)}

Seconds = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
RegionLabel = Annotated[str, StringConstraints(max_length=64, pattern=NO_NUL)]


class TimeRange(Document):
    """A part of a clip, both its ends included."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [RANGE]})

    start: Seconds = Field(description="Seconds from the start of the clip.")
    end: Seconds = Field(description="Seconds from the start of the clip, not before `start`.")
    label: RegionLabel = Field(description="What is there, in words of your own: bad motion, ...")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise PydanticCustomError(
                IMPOSSIBLE, f"The range ends at {self.end:g} s, before its start at {self.start:g} s"
            )
        return self


class Keyframe(Document):
    """Where a box is at one moment, in fractions of the picture as displayed; its upper left corner is 0, 0."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": list(KEYFRAMES)})

    time: Seconds = Field(description="Seconds from the start of the clip.")
    x: Fraction = Field(description="Left edge of the box, a fraction of the picture's width.")
    y: Fraction = Field(description="Upper edge of the box, a fraction of the picture's height.")
    width: Fraction = Field(description="A fraction of the picture's width; x + width is 1 at most.")
    height: Fraction = Field(description="A fraction of the picture's height; y + height is 1 at most.")
    visible: bool = Field(
        default=True, strict=True, description="Whether the box is there from this moment on; false ends it."
    )

    @model_validator(mode="after")
    def _in_picture(self) -> Self:
        for what, end in (("x + width", self.x + self.width), ("y + height", self.y + self.height)):
            if end > 1 + TOLERANCE:
                raise PydanticCustomError(IMPOSSIBLE, f"The box leaves the picture: {what} is {end:.7g}, more than 1")
        return self


def _increasing(keyframes: tuple[Keyframe, ...]) -> tuple[Keyframe, ...]:
    if not keyframes:  # min_length would say so of a list that begins with a broken one, too
        raise PydanticKnownError("too_short", {"field_type": "Tuple", "min_length": 1, "actual_length": 0})
    for before, after in pairwise(keyframes):
        if after.time <= before.time:
            raise PydanticCustomError(
                IMPOSSIBLE,
                f"The times of keyframes must increase: the one at {after.time:g} s follows that at {before.time:g} s",
            )
    return keyframes


class Box(Document):
    """Something in the picture, followed through the clip; between two keyframes it moves evenly."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [BOX]})

    label: RegionLabel = Field(description="What it is, in words of your own: moving object, ...")
    keyframes: Annotated[
        tuple[Keyframe, ...],
        # A long list of broken keyframes makes one error, not one for each.
        Field(max_length=MAX_BOX_KEYFRAMES, fail_fast=True),
        AfterValidator(_increasing),
    ] = Field(description="Where it is, their times increasing.", json_schema_extra={"minItems": 1})


def _few_keyframes(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    count = sum(len(box.keyframes) for box in boxes)
    if count > MAX_KEYFRAMES:
        raise PydanticCustomError(
            IMPOSSIBLE, f"The boxes of a label have {MAX_KEYFRAMES:,} keyframes together at most, these have {count:,}"
        )
    return boxes


# What a label may bring.
Ranges = Annotated[tuple[TimeRange, ...], Field(max_length=MAX_RANGES, fail_fast=True)]
Boxes = Annotated[tuple[Box, ...], Field(max_length=MAX_BOXES, fail_fast=True), AfterValidator(_few_keyframes)]


def last_moments(ranges: Sequence[TimeRange], boxes: Sequence[Box]) -> Iterator[tuple[str, float]]:
    """Give the last moment of each range and box: the name of its field in a label, and its seconds."""
    for number, marked in enumerate(ranges):
        yield f"ranges.{number}.end", marked.end
    for number, box in enumerate(boxes):
        yield f"boxes.{number}.keyframes.{len(box.keyframes) - 1}.time", box.keyframes[-1].time
