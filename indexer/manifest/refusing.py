"""What can be wrong with a manifest, or with one of its rows, and how that is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMED = 3  # rows of a reason that are named


class ManifestError(ValueError):
    """A manifest cannot be read; says which file, line and column, and what is expected there."""


class RowError(ValueError):
    """A row is no clip.

    Attributes:
        reason: a few words that are the same for all rows with that trouble, such as "no caption".
        said: what is wrong with this row and what is expected, a sentence.
        expected: a curator writes such rows by design, so that they are no fault even of a strict run's manifest.
    """

    def __init__(self, reason: str, said: str, *, expected: bool = False) -> None:
        super().__init__(said)
        self.reason = reason
        self.said = said
        self.expected = expected


@dataclass(frozen=True)
class RefusedRow:
    """A row that is passed over, and why."""

    number: int
    """Its place in the manifest, from 1."""
    place: str
    """Where it is written: "line 7", "row 7", or the name of the file that holds it alone."""
    reason: str
    said: str


def by_reason(refused: Iterable[RefusedRow]) -> list[str]:
    """A line for each reason, the most frequent first: how many rows, where the first are, what is wrong with one."""
    groups: dict[str, list[RefusedRow]] = {}
    for row in refused:
        groups.setdefault(row.reason, []).append(row)
    return [_line(reason, rows) for reason, rows in sorted(groups.items(), key=lambda group: -len(group[1]))]


def _line(reason: str, rows: list[RefusedRow]) -> str:
    places = ", ".join(row.place for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
    count = f"{len(rows):,} rows" if len(rows) > 1 else "1 row"
    return f"{reason}, {count} ({places}{more}): {rows[0].said}"
