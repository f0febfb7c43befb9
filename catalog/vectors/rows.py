"""Rows of the index's segments and their scores: those of one version, or those that a filter leaves of it."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from motiontrace.catalog.vectors.faiss_index import FaissIndex
from motiontrace.catalog.vectors.segment import Segment

_SUMMED_AT_ONCE = 1 << 13  # rows: 34 MB of 512 float64s


@dataclass(frozen=True)
class Rows:
    """Some of a segment's rows, or all."""

    index: FaissIndex
    mask: NDArray[np.bool_] | None  # [count of the segment], which; None: all

    @property
    def segment(self) -> Segment:
        """The segment whose rows they are."""
        return self.index.segment

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Which rows, ascending."""
        return np.arange(self.segment.count) if self.mask is None else np.flatnonzero(self.mask)

    def __len__(self) -> int:
        return self.segment.count if self.mask is None else len(self.numbers)

    def narrowed(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Keep those of the rows that are chosen, [len(self)]."""
        if chosen.all():
            return self
        if self.mask is None:
            return Rows(self.index, chosen)
        mask = np.zeros_like(self.mask)
        mask[self.numbers[chosen]] = True
        return Rows(self.index, mask)

    def without(self, clip_id: str) -> "Rows":
        """Leave out the row of an id, where it is among them."""
        row = self.of(clip_id)
        if row is None:
            return self
        mask = np.ones(self.segment.count, dtype=np.bool_) if self.mask is None else self.mask.copy()
        mask[row] = False
        return Rows(self.index, mask)

    def of(self, clip_id: str) -> int | None:
        """Find the row of an id, or None."""
        first, last = self._range
        if not first <= clip_id <= last:
            return None
        row = self.segment.ids.row(clip_id)
        return row if row is not None and (self.mask is None or self.mask[row]) else None

    @cached_property
    def _range(self) -> tuple[str, str]:
        return self.segment.ids[0], self.segment.ids[-1]


class RowIds(Sequence[str]):
    """The ids of the scored rows, decoded when asked for."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts
        self._starts = _starts(parts)

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        position %= len(self)
        number = bisect_right(self._starts, position) - 1
        part = self._parts[number]
        row = position - self._starts[number]
        return part.segment.ids[row if part.mask is None else int(part.numbers[row])]

    def runs(self) -> Iterator[list[str]]:
        """Decode all, a segment at a time; far quicker than one by one. Each run is ascending; none is empty."""
        for part in self._parts:
            ids = part.segment.ids.all()
            run = ids if part.mask is None else [ids[row] for row in part.numbers.tolist()]
            if run:
                yield run


@dataclass(frozen=True)
class Scores:
    """The score of every clip ranked, in the index's own order: values[..., i] belongs to ids[i]."""

    ids: RowIds
    values: NDArray[np.float32]  # [N]; of many queries [queries, N]


def scores_of(parts: Sequence[Rows], query: NDArray[np.float32]) -> Scores:
    """Score rows against a query, float32 [dim], contiguous."""
    starts = _starts(parts)
    values = np.empty(starts[-1], dtype=np.float32)
    for part, (start, end) in zip(parts, pairwise(starts), strict=True):
        if end > start:
            part.index.scores(query, part.mask, values[start:end])
    return Scores(RowIds(parts), values)


def scores_of_many(parts: Sequence[Rows], queries: NDArray[np.float32]) -> Scores:
    """Score rows against queries, float32 [queries, dim], contiguous, in one pass over the rows."""
    starts = _starts(parts)
    values = np.empty((len(queries), starts[-1]), dtype=np.float32)
    for part, (start, end) in zip(parts, pairwise(starts), strict=True):
        part.index.scores_of_many(queries, None if part.mask is None else part.numbers, values[:, start:end])
    return Scores(RowIds(parts), values)


def weighted_sum(
    parts: Sequence[Rows], positions: NDArray[np.int64], weights: NDArray[np.float64], dim: int
) -> NDArray[np.float64]:
    """The sum of the vectors at some positions, counted as `scores_of` counts, times their weights: float64 [dim]."""
    total = np.zeros(dim)
    for part, (start, end) in zip(parts, pairwise(_starts(parts)), strict=True):
        here = np.flatnonzero((positions >= start) & (positions < end))
        for first in range(0, len(here), _SUMMED_AT_ONCE):
            some = here[first : first + _SUMMED_AT_ONCE]
            total += weights[some] @ part.index.codes[part.numbers[positions[some] - start]].astype(np.float64)
    return total


def narrowed(parts: Sequence[Rows], chosen: NDArray[np.bool_]) -> list[Rows]:
    """Keep those of the rows that are chosen, [rows of all parts]."""
    ranges = pairwise(_starts(parts))
    return [part.narrowed(chosen[start:end]) for part, (start, end) in zip(parts, ranges, strict=True)]


def _starts(parts: Sequence[Rows]) -> list[int]:
    return [0, *accumulate(len(part) for part in parts)]
