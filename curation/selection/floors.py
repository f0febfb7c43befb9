"""Floors for diversity: of some values of metadata columns a least number of clips is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.selection.errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from motiontrace.curation.selection.settings import Floor

_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Groups:
    """The values that N clips have in a metadata column."""

    codes: NDArray[np.int32]
    """[N], the place of each clip's value in `values`; -1: it has none."""
    values: tuple[str, ...]
    """Each once, as people write it."""


@dataclass(frozen=True)
class FloorReport:
    """What became of a floor."""

    column: str
    value: str
    asked: int
    available: int
    """Clips of this value that could be chosen: where there are fewer than asked for, all of them are."""
    chosen: int


@dataclass(frozen=True, eq=False)
class ColumnFloors:
    """The floors of one column, as numbers of clips."""

    column: str
    groups: Groups
    asked: NDArray[np.int64]
    """[values], 0 where a value has no floor."""
    available: NDArray[np.int64]
    """[values], how many clips there are to choose from."""

    @property
    def wanted(self) -> NDArray[np.int64]:
        """[values], how many clips each floor can get: no more than there are."""
        return np.minimum(self.asked, self.available)

    def reports(self, rows: NDArray[np.int64]) -> list[FloorReport]:
        """What became of each floor, where these rows are chosen."""
        chosen = _counted(self.groups, rows)
        return [
            FloorReport(
                self.column,
                self.groups.values[code],
                int(self.asked[code]),
                int(self.available[code]),
                int(chosen[code]),
            )
            for code in np.flatnonzero(self.asked).tolist()
        ]


def column_floors(
    at_least: Sequence[Floor], groups: Mapping[str, Groups], rows: NDArray[np.int64], budget: int
) -> list[ColumnFloors]:
    """The floors in numbers, column by column, where `budget` of these rows are chosen.

    A floor of one value holds instead of that of each value of its column. Raises SelectionError where no clip has the
    column, or the value.
    """
    columns = dict.fromkeys(floor.column for floor in at_least)
    found = []
    for column in columns:
        of = groups[column]
        if not of.values:
            raise SelectionError(f"no clip that moves has anything in the column {column!r}, which a floor is of")
        asked = np.zeros(len(of.values), np.int64)
        for floor in sorted(
            (each for each in at_least if each.column == column), key=lambda each: each.value is not None
        ):
            if floor.value is None:
                asked[:] = floor.amount.least(budget)
            else:
                asked[_code(of, floor)] = floor.amount.least(budget)
        found.append(ColumnFloors(column, of, asked, _counted(of, rows)))
    return found


def needed(floors: Sequence[ColumnFloors], rows: NDArray[np.int64], budget: int) -> NDArray[np.bool_]:
    """Which of these rows, the best first, the floors need: bool [rows], the best of each value.

    With one column these are the best there are. With several, a clip may serve several floors: the best that serve any
    are taken, which is enough room as long as the floors together ask for no more than the budget; else those
    that serve most at once. Raises SelectionError where even so more than `budget` are needed.
    """
    if not floors:
        return np.zeros(len(rows), np.bool_)
    if len(floors) == 1:
        taken = _best_of_each(floors[0], rows)
    else:
        taken = _serving(floors, rows, at_once=[1])
        if taken.sum() > budget:
            taken = _serving(floors, rows, at_once=range(len(floors), 0, -1))
    if taken.sum() > budget:
        asked = "; ".join(_asked(each) for each in floors)
        raise SelectionError(
            f"the floors need {int(taken.sum()):,} clips and only {budget:,} are chosen ({asked}): lower a floor, or"
            " raise the budget"
        )
    return taken


def _best_of_each(floors: ColumnFloors, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    codes = floors.groups.codes[rows]
    by_code = np.argsort(codes, kind="stable")
    ordered = codes[by_code]
    starts = np.searchsorted(ordered, np.arange(-1, len(floors.groups.values)))
    place = np.empty(len(rows), np.int64)  # of each row among those of its value
    place[by_code] = np.arange(len(rows)) - starts[ordered + 1]
    return (codes >= 0) & (place < floors.wanted[codes])


def _serving(
    floors: Sequence[ColumnFloors], rows: NDArray[np.int64], at_once: Sequence[int] | range
) -> NDArray[np.bool_]:
    """Go through the rows, and take those that serve so many floors `at_once` that are not yet met."""
    codes = list(zip(*(each.groups.codes[rows].tolist() for each in floors), strict=True))
    unmet = [each.wanted.tolist() for each in floors]
    left = sum(map(sum, unmet))
    taken = np.zeros(len(rows), np.bool_)
    for least in at_once:
        for place, row in enumerate(codes):
            if not left:
                return taken
            served = [column for column, code in enumerate(row) if code >= 0 and unmet[column][code]]
            if len(served) >= least and not taken[place]:
                taken[place] = True
                left -= len(served)
                for column in served:
                    unmet[column][row[column]] -= 1
    return taken


def _code(groups: Groups, floor: Floor) -> int:
    try:
        return groups.values.index(floor.value or "")
    except ValueError:
        some = ", ".join(sorted(groups.values)[:_SHOWN]) + (", ..." if len(groups.values) > _SHOWN else "")
        raise SelectionError(
            f"no clip that moves has {floor.value!r} in the column {floor.column!r}, which a floor is of: there are"
            f" {some}"
        ) from None


def _counted(groups: Groups, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the rows have each value, [values]."""
    codes = groups.codes[rows]
    return np.bincount(codes[codes >= 0], minlength=len(groups.values))


def _asked(floors: ColumnFloors) -> str:
    count = int(np.count_nonzero(floors.asked))
    return f"{int(floors.wanted.sum()):,} for {count:,} {'value' if count == 1 else 'values'} of {floors.column}"
