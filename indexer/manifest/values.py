"""What a manifest's values are, by their type: text, an id, metadata; and what counts as missing.

No value becomes text by way of Python: a list, a number or bytes where text is expected is refused, and NaN is no
caption. Spreadsheets and data frames write missing values as words, which are missing here too.
"""

from __future__ import annotations

import ast
import datetime
import math
import uuid
from decimal import Decimal
from typing import Any

from motiontrace.catalog.repositories.storable import check_storable
from motiontrace.indexer.manifest.refusing import RowError

_MISSING_WORDS = frozenset({
    "nan", "-nan", "none", "null", "na", "n/a", "<na>", "nat",
    "#n/a", "#na", "#n/a n/a", "#name?", "#value!", "#ref!", "#div/0!", "#null!", "#num!",
})  # fmt: skip
_EXACT = 2**53  # whole numbers from here on are not all different as floats


def is_missing(value: object) -> bool:
    """Whether nothing is there: None, NaN, blank text, or a word that data frames or spreadsheets write for it."""
    if isinstance(value, str):
        word = value.strip()
        return not word or word.casefold() in _MISSING_WORDS
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def text_of(value: object, column: str, what: str) -> str:
    """A text without the blanks around it; `what` it is, as "the caption".

    Raises:
        RowError: it is missing, or no text.
    """
    if is_missing(value):
        holds = f" (it says {value.strip()!r})" if isinstance(value, str) and value.strip() else ""
        raise RowError(f"no {what.removeprefix('the ')}", f"the column {column!r} ({what}) is empty{holds}.")
    text = value if isinstance(value, str) else None
    held = value if text is None else _as_python_writes(text)
    if text is None or held is not None:
        hint = " Choose one, or write a row for each." if isinstance(held, list | tuple) else ""
        written = "" if text is None else ", written as Python shows it"
        raise RowError(
            f"{what} is no text",
            f"the column {column!r} ({what}) holds {kind_of(held)}{written}; text is expected.{hint}",
        )
    return text.strip()


def _as_python_writes(text: str) -> list[Any] | tuple[Any, ...] | bytes | None:
    """The list, tuple or bytes that a data frame has written into a table as Python shows them; None: it is text."""
    text = text.strip()
    if not text.startswith(("[", "(", "b'", 'b"')):
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list | tuple | bytes) else None


def id_of(value: object, column: str = "id") -> str | None:
    """A clip's id as text, None where it has none. Whole numbers are ids too, as 1.0 is the id 1.

    Raises:
        RowError: it is neither text nor a whole number, or too large a one to have been kept exactly.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        if isinstance(value, float) and abs(value) >= _EXACT:
            raise RowError(
                "the id is not exact",
                f"the column {column!r} holds {value!r}, whose last digits are lost: write ids as text.",
            )
        return str(int(value))
    holds = str(value) if isinstance(value, float | Decimal) else kind_of(value)
    raise RowError(
        "the id is no text", f"the column {column!r} holds {holds}; text or a whole number is expected as an id."
    )


def metadata_of(values: dict[str, Any]) -> dict[str, Any]:
    """The values that are there, as JSON keeps them: dates and decimals as text.

    Raises:
        RowError: one cannot be stored; says which column.
    """
    kept = {}
    for column, value in values.items():
        found = _json_of(value)
        if found is None:
            continue
        try:
            check_storable(f"The column {column!r}", [column, found])
        except ValueError as error:
            raise RowError("metadata that cannot be stored", str(error)) from error
        kept[column] = found
    return kept


def _json_of(value: Any) -> Any:
    """A value as JSON has it; None where it is missing. Words stay words: metadata may say "none"."""
    match value:
        case float() | Decimal() if math.isnan(value):
            return None  # how data frames write a missing value
        case list() | tuple():
            return [_json_of(each) for each in value]
        case dict():
            return {key: _json_of(each) for key, each in value.items()}
        case datetime.timedelta():
            return value.total_seconds()
        case datetime.date() | datetime.time() | Decimal() | uuid.UUID():
            return str(value)
        case _:
            return value


def kind_of(value: object) -> str:
    """What a value is, in words for people."""
    match value:
        case bool():
            return "true or false"
        case int() | float() | Decimal():
            return "a number"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case bytes():
            return "bytes"
        case datetime.date() | datetime.time() | datetime.timedelta():
            return "a time"
        case _:
            return f"a {type(value).__name__}"
