"""Which clips a request means, by metadata and label; one rule for JSON documents and query strings.

A text stands for whatever is written like that: "3" is met by the text "3" and by the number 3, "true" by the text and
by true, "null" by the text and by null. So it does not matter whether a corpus came from a CSV manifest, where all is
text, and a query string can ask for anything. A number, true, false or null in JSON is met by its own kind alone, and
a clip without the column by nothing.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from motiontrace.documents.base import NO_NUL, Document

MAX_COLUMNS = 16  # with the four conditions on the label: 20 in all
MAX_VALUES = 100  # of one condition
MAX_COLUMN = 200  # characters of a column's name
MAX_TEXT = 1000  # characters of a value
MAX_CONDITION = 2 * MAX_COLUMN + 1 + MAX_TEXT  # characters of column:value, as split_column reads it
MAX_INTEGER = 2**63 - 1  # what either database compares exactly
EXAMPLE: dict[str, Any] = {"metadata": {"motion": ["bounce", "fall"]}, "without_decision": ["drop"]}

Scalar: TypeAlias = str | int | float | bool | None
Verdict = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]
Decision = Literal["keep", "down_weight", "drop"]


def _scalar(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Say at once what is allowed, instead of once for each type."""
    try:
        if not isinstance(value, int) or abs(value) <= MAX_INTEGER:
            return validate(value)
    except ValidationError:
        pass
    raise PydanticCustomError(
        "filter_value",
        f"Input should be a text of at most {MAX_TEXT} characters without a null character, a finite number (an "
        "integer of at most 64 bits), true, false or null",
    )


Column = Annotated[str, StringConstraints(min_length=1, max_length=MAX_COLUMN, pattern=NO_NUL)]
Value = Annotated[
    Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=NO_NUL)]
    | StrictBool
    | StrictInt
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | None,
    WrapValidator(_scalar),
]


class Filter(Document):
    """Conditions on clips: all that are named must hold; within one, any of its values will do."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    metadata: dict[Column, Annotated[list[Value], Field(min_length=1, max_length=MAX_VALUES)]] = Field(
        default={},
        max_length=MAX_COLUMNS,
        json_schema_extra={"additionalProperties": False},  # a name outside the pattern is refused
        description="By column of the manifest: the values that will do. A text also stands for the number, true, "
        'false or null that is written like it: "3" is met by 3 as well. All else is met by its own kind alone. A '
        "clip without the column never matches.",
    )
    verdict: list[Verdict] = Field(
        default=[], max_length=MAX_VALUES, description="Only clips whose current label has one of these verdicts."
    )
    without_verdict: list[Verdict] = Field(
        default=[], max_length=MAX_VALUES, description="Without clips of these verdicts; clips with none are kept."
    )
    decision: list[Decision] = Field(
        default=[], max_length=MAX_VALUES, description="Only clips whose current label has one of these decisions."
    )
    without_decision: list[Decision] = Field(
        default=[], max_length=MAX_VALUES, description="Without clips of these decisions; clips with none are kept."
    )

    @model_validator(mode="before")
    @classmethod
    def _names_are_text(cls, sent: Any) -> Any:
        """Refuse half a surrogate pair in a name: the answer that names the field could not be written."""
        if isinstance(sent, dict):
            metadata = sent.get("metadata")
            for name in (*sent, *(metadata if isinstance(metadata, dict) else ())):
                if isinstance(name, str) and any("\ud800" <= character <= "\udfff" for character in name):
                    raise ValueError(f"the name {name[:80]!a} cannot be written as UTF-8: correct its encoding.")
        return sent

    @property
    def is_empty(self) -> bool:
        """Whether every clip matches."""
        return not any((self.metadata, self.verdict, self.without_verdict, self.decision, self.without_decision))

    def to_query_string(self) -> list[tuple[str, str]]:
        """Give the filter as names and values of a query string, not yet escaped for it.

        What is no text becomes one, which is met by the text of that writing too.
        """
        pairs = []
        for name, values in self.metadata.items():
            column = re.sub(r"[\\:]", r"\\\g<0>", name)
            pairs += [("metadata", f"{column}:{v if isinstance(v, str) else json.dumps(v)}") for v in values]
        for condition in ("verdict", "without_verdict", "decision", "without_decision"):
            pairs += [(condition, value) for value in getattr(self, condition)]
        return pairs


def split_column(text: str) -> tuple[str, str]:
    r"""Split "column:value" at its first colon; a colon or backslash of the column itself is written \: or \\.

    Raises:
        ValueError: it has no such colon, or nothing before it.
    """
    found = _COLUMN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no condition on a column: write column:value, as motion:bounce.")
    return re.sub(r"\\([\\:])", r"\1", found[1]), found[2]


_COLUMN = re.compile(r"((?:\\[\\:]|[^:])++):(.*)", re.DOTALL)
# The same for people who read the API's description, and for tools that make requests from it.
CONDITION = rf"^(\\[\\:]|\\?[^:\\\x00]){{1,{MAX_COLUMN}}}:[^\x00]{{0,{MAX_TEXT}}}$"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<real>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def meanings(value: Scalar) -> list[Scalar]:
    """Give the values that a value of a filter stands for."""
    if not isinstance(value, str):
        return [value]
    if value in _WORDS:
        return [value, _WORDS[value]]
    if (written := _NUMBER.fullmatch(value)) is None:
        return [value]
    number = float(value) if written["real"] else int(value)
    comparable = math.isfinite(number) if isinstance(number, float) else abs(number) <= MAX_INTEGER
    return [value, number] if comparable else [value]
