"""The documents of /v1/clips/{id}/labels."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from motiontrace.documents.base import NO_NUL, Document
from motiontrace.documents.filters import Decision, Verdict
from motiontrace.documents.regions import BOX, MAX_KEYFRAMES, RANGE, Box, Boxes, Ranges, TimeRange

HISTORY_LABELS = 100
HISTORY_KEYFRAMES = 10_000

PUT: JsonDict = {
    "verdict": "unrealistic",
    "decision": "drop",
    "note": "the ball passes through the floor",
    "author": "kim",
    "tool": "api",
    "ranges": [RANGE],
    "boxes": [BOX],
}
LABEL: JsonDict = {**PUT, "created_at": "2026-03-01T12:00:00Z"}


class NewLabel(Document):
    """What is to be said of a clip from now on.

    With neither verdict nor decision, range nor box the label before is withdrawn.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [PUT]})

    verdict: Verdict | None = Field(
        default=None, description="What the clip looks like, in words of your own: realistic, unrealistic, cartoon, ..."
    )
    decision: Decision | None = Field(default=None, description="What training should do with the clip.")
    note: Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL)] = Field(
        default="", description="Why, for people."
    )
    author: Annotated[str, StringConstraints(max_length=200, pattern=NO_NUL)] = Field(
        default="", description="Who says so."
    )
    tool: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)] = Field(
        default="api", description="Where it was said: api, label-studio, ..."
    )
    ranges: Ranges = Field(default=(), description="Parts of the clip, in seconds.")
    boxes: Boxes = Field(
        default=(), description=f"Things in the picture; at most {MAX_KEYFRAMES:,} keyframes in all of them together."
    )


class Label(Document):
    """What was said of a clip at one moment."""

    model_config = ConfigDict(json_schema_extra={"examples": [LABEL]})

    verdict: str | None = Field(description="What the clip looks like. Null: nothing was said of it.")
    decision: Decision | None = Field(description="What training should do with the clip. Null: undecided.")
    note: str
    author: str
    tool: str = Field(description="Where it was said.")
    ranges: tuple[TimeRange, ...] = Field(description="Parts of the clip, in seconds.")
    boxes: tuple[Box, ...] = Field(description="Things in the picture.")
    created_at: datetime


class Labels(Document):
    """A clip's label and what it was before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"clip": "bounce-0412", "current": LABEL, "history": [LABEL], "history_total": 1}]
        }
    )

    clip: str = Field(description="The clip's id.")
    current: Label | None = Field(description="What holds now; null where nothing was said, or it was withdrawn.")
    history: list[Label] = Field(
        description=f"What was ever said, by when it was last said, newest first: the newest {HISTORY_LABELS}, or "
        f"fewer where their boxes have more than {HISTORY_KEYFRAMES:,} keyframes together. One with neither verdict "
        "nor decision, range nor box is a withdrawal."
    )
    history_total: int = Field(description="How much was ever said, that which `history` leaves out included.")
