"""Parameters that several calls take."""

import re
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from motiontrace.documents.base import NO_NUL
from motiontrace.documents.filters import CONDITION, MAX_CONDITION, MAX_VALUES, Decision, Filter, Verdict, split_column
from motiontrace.service.problem import invalid, of_fields

Text = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=1000)]
ClipId = Annotated[Text, Path(description="The clip's id.", examples=["bounce-0412"])]
QueryId = Annotated[Text, Path(description="The query's id.", examples=["5f0c0c4e8d5b4d0f9a5b1f6f2f7f3c11"])]
IndexName = Annotated[Text, Path(description="The index's name.", examples=["demo"])]
# As JSON writes them, and no longer than any that is meant.
WRITTEN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")


def _written(value: Any) -> Any:
    """Refuse what Python's int() takes, and nobody means: 1_000, 5.0, blanks around it, digits of other scripts."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise PydanticCustomError("whole_number", "Input should be a whole number, written in digits")
    return value


WRITTEN = BeforeValidator(_written)  # to be put behind the bounds of a number
PageSize = Annotated[int, Field(ge=1, le=200), WRITTEN, Query(description="How many a page holds at most.")]


async def _filter(
    metadata: Annotated[
        list[
            Annotated[
                str,
                StringConstraints(pattern=NO_NUL, max_length=MAX_CONDITION),
                Field(json_schema_extra={"pattern": CONDITION}),
            ]
        ],
        Query(
            default_factory=list,
            description="Only clips with this value in this column, as column:value. Several values of one column: "
            "any will do; several columns: all must hold. Write a colon or backslash of the column's name as \\: or "
            "\\\\. A value is a text, and the number, true, false or null that is written like it.",
            examples=[["motion:bounce", "motion:fall"]],
        ),
    ],
    verdict: Annotated[
        list[Verdict],
        Query(default_factory=list, max_length=MAX_VALUES, description="Only clips with one of these verdicts."),
    ],
    without_verdict: Annotated[
        list[Verdict],
        Query(default_factory=list, max_length=MAX_VALUES, description="No clips with one of these verdicts."),
    ],
    decision: Annotated[
        list[Decision],
        Query(default_factory=list, max_length=MAX_VALUES, description="Only clips with one of these decisions."),
    ],
    without_decision: Annotated[
        list[Decision],
        Query(default_factory=list, max_length=MAX_VALUES, description="No clips with one of these decisions."),
    ],
) -> Filter | None:
    """Read a filter from the query string; None where it has none."""
    columns: dict[str, list[str]] = {}
    for text in metadata:
        try:
            column, value = split_column(text)
        except ValueError as error:
            raise invalid(
                "metadata", "invalid_filter", str(error), "Send each condition as metadata=column:value."
            ) from error
        columns.setdefault(column, []).append(value)
    try:
        found = Filter.model_validate(
            {
                "metadata": columns,
                "verdict": verdict,
                "without_verdict": without_verdict,
                "decision": decision,
                "without_decision": without_decision,
            }
        )
    except ValidationError as error:
        raise of_fields(error.errors()) from error
    return None if found.is_empty else found


FilterParameters = Annotated[Filter | None, Depends(_filter)]
