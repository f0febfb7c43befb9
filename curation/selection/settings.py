"""How clips are chosen: one frozen value, kept with the selection so that it can be repeated."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from motiontrace.fields import Flag
from motiontrace.preconditions import DAMPING, MAX_DAMPING, MIN_DAMPING, Precondition

_AMOUNT = re.compile(r"(?:(?P<clips>[0-9]{1,12})|(?P<percent>[0-9]{1,3}(?:\.[0-9]{1,9})?) ?%)", re.ASCII)


class _Written:
    """A value that is a text in JSON, on the command line and to people."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: Any) -> Any:
            return value if isinstance(value, cls) else cls.parse(str(value))  # type: ignore[attr-defined]

        return core_schema.no_info_plain_validator_function(read, serialization=core_schema.to_string_ser_schema())


@dataclass(frozen=True)
class Amount(_Written):
    """A number of clips, or a share of them: "5000" or "12.5%"."""

    clips: int | None
    share: Fraction | None  # in [0, 1]

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read it as people write it; raises ValueError."""
        found = _AMOUNT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text[:40]!r} is no amount: write a number of clips, as 5000, or a share, as 10%")
        if found["clips"] is not None:
            return cls(int(found["clips"]), None)
        share = Fraction(found["percent"]) / 100
        if share > 1:
            raise ValueError(f"{text[:40]!r} is more than all: a share is 100% at most")
        return cls(None, share)

    def most(self, total: int) -> int:
        """So many of `total` clips, a broken number rounded down; a number of clips may be more than there are."""
        return self.clips if self.share is None else math.floor(self.share * total)  # type: ignore[return-value]

    def least(self, total: int) -> int:
        """The same with a broken number rounded up."""
        return self.clips if self.share is None else math.ceil(self.share * total)  # type: ignore[return-value]

    def __str__(self) -> str:
        if self.share is None:
            return str(self.clips)
        percent = f"{float(self.share * 100):.9f}".rstrip("0").rstrip(".")
        return f"{percent}%"


@dataclass(frozen=True)
class Floor(_Written):
    """The least that is chosen of a value of a metadata column, or of each of its values.

    "scene=5%": of each scene at least 5 % of what is chosen; "scene:night=200": of night at least 200 clips.
    """

    column: str
    value: str | None  # None: each value that has no floor of its own
    amount: Amount

    @classmethod
    def parse(cls, text: str) -> Floor:
        """Read it as people write it; raises ValueError."""
        where, equals, amount = text.rpartition("=")
        found = _COLUMN.fullmatch(where)
        if not equals or found is None:
            raise ValueError(f"{text[:80]!r} is no floor: write COLUMN=AMOUNT or COLUMN:VALUE=AMOUNT, as scene=5%")
        return cls(_unescaped(found["column"]), found["value"], Amount.parse(amount))

    @property
    def group(self) -> str:
        """What it is a floor of, for people."""
        return self.column if self.value is None else f"{self.column}:{self.value}"

    def __str__(self) -> str:
        column = re.sub(r"[\\:]", r"\\\g<0>", self.column)
        return f"{column if self.value is None else f'{column}:{self.value}'}={self.amount}"


# As conditions on metadata are written elsewhere: a colon or backslash of the column itself has a backslash before it.
_COLUMN = re.compile(r"(?P<column>(?:\\[\\:]|[^:])++)(?::(?P<value>.*))?", re.DOTALL)


def _unescaped(column: str) -> str:
    return re.sub(r"\\([\\:])", r"\1", column)


class SelectionSettings(BaseModel):
    """How clips are chosen. Raises pydantic's ValidationError that names a wrong field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percentile: float = Field(
        default=90.0,
        ge=50,
        lt=100,
        allow_inf_nan=False,
        description="A query votes for clips above this percentile of its scores, and against those below "
        "its mirror image.",
    )
    budget: Annotated[Amount | None, Flag(default="all that are not dropped")] = Field(
        default=None, description="How many clips to choose: a number, or a share of those that move, as 10%."
    )
    choose_by: Literal["matching", "votes"] = Field(
        default="matching",
        description="Fill --budget by clips whose gradients together match the queries', or one by one by votes.",
    )
    drop_worst: Amount | None = Field(
        default=None,
        description="Leave out so many of the clips that queries rank lowest.",
    )
    at_least: tuple[Floor, ...] = Field(
        default=(),
        description="At least so many chosen clips of each value of a column, scene=5%, or of one, scene:night=200.",
    )
    down_weight: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Weight of clips that reviewers weigh down, in votes, sets and training.",
    )
    labels: bool = Field(default=True, description="Whether reviewers' decisions count.")
    precondition: Precondition = Field(
        default="none",
        description="Take off the index's mean (centre), or count rare directions more (whiten).",
    )
    damping: float = Field(
        default=DAMPING,
        ge=MIN_DAMPING,
        le=MAX_DAMPING,
        description="With whiten: how much is left as it is, times the mean eigenvalue.",
    )
    no_motion: bool = Field(default=False, description="Without --budget: keep clips in which nothing moves, unranked.")

    def model_post_init(self, context: Any) -> None:
        """Refuse what contradicts itself."""
        if self.no_motion and self.budget is not None:
            raise ValueError(
                "clips in which nothing moves have no rank: they can be kept only where there is no budget"
            )
        seen = [(floor.column, floor.value) for floor in self.at_least]
        if len(set(seen)) < len(seen):
            twice = next(each for each in seen if seen.count(each) > 1)
            raise ValueError(f"there are two floors for {':'.join(filter(None, twice))}")
