"""What the catalog knows of the clips that are ranked: decisions of all, columns that floors are of, and no more."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.catalog.repositories import CandidateRepository
from motiontrace.catalog.repositories.columns import ColumnRepository
from motiontrace.catalog.repositories.filters import MAX_INTEGER
from motiontrace.catalog.spelling import MOST, hint, shown
from motiontrace.curation.selection.choice import Candidates, Decided
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.floors import Groups

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from motiontrace.catalog.repositories.filters import Scalar
    from motiontrace.catalog.vectors.rows import RowIds
    from motiontrace.curation.selection.settings import Floor


def read_candidates(session: Session, index_id: int, ids: RowIds, columns: Collection[str]) -> Candidates:
    """The catalog's data of the clips of these `ids`, in their order; `columns` are the metadata columns to read.

    It reads segment by segment and holds one segment's ids at a time, beside a byte a clip and four more a column.
    """
    clips, found = CandidateRepository(session, index_id), _Columns(len(ids), columns)
    decided = np.zeros(len(ids), np.int8)
    ends: list[tuple[str, str]] = []
    start = 0
    for run in ids.runs():
        first, last = run[0], run[-1]
        places = dict(zip(run, range(start, start + len(run)), strict=True))
        for clip_id, decision in clips.decisions(first, last).items():
            if (place := places.get(clip_id)) is not None:
                decided[place] = Decided[decision]
        for column in columns:
            for clip_id, value in clips.values(column, first, last):
                if (place := places.get(clip_id)) is not None:
                    found.put(column, place, value if isinstance(value, str) else json.dumps(value))
        ends.append((first, last))
        start += len(run)
    ascending = all(before[1] < after[0] for before, after in pairwise(ends))
    return Candidates(decided, found.groups(), None if ascending else _order(ids))


def check_floors(session: Session, index_id: int, at_least: Sequence[Floor]) -> None:
    """See that clips of an index have what floors are of.

    Raises SelectionError where none has the column, or the value.
    """
    columns = ColumnRepository(session, index_id)
    for floor in at_least:
        if not columns.has(floor.column):
            end = hint([floor.column], columns.names(MOST))
            raise SelectionError(f"no clip has the column {shown(floor.column)}, which a floor is of{end}")
        if floor.value is not None and not columns.values(floor.column, 1, among=_meanings(floor.value)):
            end = hint([floor.value], columns.values(floor.column, MOST))
            raise SelectionError(
                f"no clip has {shown(floor.value)} in the column {shown(floor.column)}, which a floor is of{end}"
            )


def _meanings(text: str) -> list[Scalar]:
    """What is written so: the text, and the JSON number, true or false."""
    try:
        value = json.loads(text)
    except ValueError:
        return [text]
    small = not isinstance(value, int) or abs(value) <= MAX_INTEGER
    finite = not isinstance(value, float) or math.isfinite(value)
    return [text, value] if isinstance(value, bool | int | float) and small and finite else [text]


def _order(ids: RowIds) -> NDArray[np.int64]:
    """Each place's place in the order of ids. Only an index that is being written is out of order."""
    texts = [clip_id for run in ids.runs() for clip_id in run]
    order = np.empty(len(texts), np.int64)
    order[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    return order


class _Columns:
    """Values of columns, each text kept once."""

    def __init__(self, clips: int, columns: Collection[str]) -> None:
        self._codes = {column: np.full(clips, -1, np.int32) for column in columns}
        self._values: dict[str, dict[str, int]] = {column: {} for column in columns}

    def put(self, column: str, place: int, text: str) -> None:
        values = self._values[column]
        self._codes[column][place] = values.setdefault(text, len(values))

    def groups(self) -> dict[str, Groups]:
        return {column: Groups(codes, tuple(self._values[column])) for column, codes in self._codes.items()}
