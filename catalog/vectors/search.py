"""Exact search over one version of the index: all N scores, and both ends of the ranking."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from catalog.errors import CatalogError, StoreDamagedError
from catalog.vectors.halves import Halves
from catalog.vectors.manifest import Manifest, SegmentEntry, signature
from catalog.vectors.segment import Ids, Segment

_ATTEMPTS = 10  # to open a version before its writer has replaced it


@dataclass(frozen=True)
class Hit:
    """A clip's place in the ranking."""

    id: str
    score: float  # inner product with the query; beyond 1 only by the rounding to half floats
    rank: int  # 1 is the most positive of the `total` ranked
    percentile: float  # 100 (total - rank) / (total - 1): the first has 100, the last 0; a lone one has 100


@dataclass(frozen=True)
class SearchResult:
    """Both ends of a ranking; they overlap where fewer than 2k clips are ranked."""

    top: list[Hit]  # the most positive first: ranks 1, 2, ...
    bottom: list[Hit]  # the most negative first: ranks total, total - 1, ...
    total: int  # how many clips were ranked, after the filter
    manifest_version: int


class RowIds(Sequence[str]):
    """The ids of the scored rows, decoded when asked for."""

    def __init__(self, parts: Sequence[tuple[Ids, NDArray[np.int64] | None]]) -> None:
        self._parts = parts
        lengths = [len(ids) if rows is None else len(rows) for ids, rows in parts]
        self._starts = np.cumsum([0, *lengths])

    def __len__(self) -> int:
        return int(self._starts[-1])

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
        part = int(np.searchsorted(self._starts, position, side="right")) - 1
        ids, rows = self._parts[part]
        row = position - int(self._starts[part])
        return ids[row if rows is None else int(rows[row])]


@dataclass(frozen=True)
class Scores:
    """The score of every clip ranked, in the index's own order: values[i] belongs to ids[i]."""

    ids: RowIds
    values: NDArray[np.float32]  # [N]


@dataclass(frozen=True)
class _Part:
    """A segment of this version and which of its rows are in the index."""

    halves: Halves
    live: NDArray[np.bool_] | None  # [count]; None: all

    @property
    def segment(self) -> Segment:
        return self.halves.segment


class Searcher:
    """One version of an index, opened for reading; never changes, safe to share between threads.

    It goes on serving its version whatever the writer does: the files it has mapped live as long as it does.
    """

    def __init__(self, directory: Path, manifest: Manifest, parts: Sequence[_Part], signature: object) -> None:
        self.manifest_version = manifest.version
        self.recipe_digest = manifest.recipe_digest
        self.dim = manifest.dim
        self.total = manifest.total  # vectors in the index
        self._directory = directory
        self._parts = parts
        self._signature = signature

    @classmethod
    def open(cls, directory: Path, recipe_digest: str) -> "Searcher":
        """Open the newest version of the store in a directory.

        Args:
            directory: of the vector store.
            recipe_digest: of the recipe that queries are computed by, hex.

        Raises:
            StoreMissingError: the directory holds no store.
            StoreDamagedError: a file is missing, cut short or altered.
            CatalogError: the vectors were made by another recipe.
        """
        return cls._open(directory, recipe_digest, {})

    def latest(self) -> "Searcher":
        """Give this searcher, or one on the newest version where there is a newer.

        The two share what has not changed. Costs one `stat` while nothing changes. Raises what `open` raises.
        """
        if signature(self._directory) == self._signature:
            return self
        known = {part.segment.path.name: part.halves for part in self._parts}
        return self._open(self._directory, self.recipe_digest, known)

    def scores(self, query: NDArray[np.float32], within: Collection[str] | None = None) -> Scores:
        """Score every clip of the index, or of the ids in `within`, exactly and in one pass.

        Scores are inner products of the query with the vectors rounded to half floats, summed in float32.
        The filter decides inside the scan which rows are read; ids that the index does not hold are ignored.

        Args:
            query: float32 [dim], finite.
            within: ids to rank; None ranks all.

        Raises:
            ValueError: the query has another shape, or a value that is not finite.
        """
        query = np.ascontiguousarray(query, dtype=np.float32)
        if query.shape != (self.dim,):
            raise ValueError(f"The query has shape {query.shape}, the index {self._directory} has dim {self.dim}.")
        if not np.isfinite(query).all():
            raise ValueError("The query has a value that is not finite.")
        values: list[NDArray[np.float32]] = []
        scored: list[tuple[Ids, NDArray[np.int64] | None]] = []
        for part, chosen in zip(self._parts, self._chosen(within), strict=True):
            if chosen is None or chosen.all():
                values.append(part.halves.scores(query, None))
                scored.append((part.segment.ids, None))
            elif chosen.any():
                values.append(part.halves.scores(query, np.packbits(chosen, bitorder="little")))
                scored.append((part.segment.ids, np.flatnonzero(chosen)))
        return Scores(RowIds(scored), np.concatenate(values) if values else np.empty(0, np.float32))

    def search(self, query: NDArray[np.float32], k: int, within: Collection[str] | None = None) -> SearchResult:
        """Rank every clip of the index, or of the ids in `within`, and give k from each end.

        Equal scores are ranked in the order of their ids, so the same question has one answer. Arguments
        and errors as in `scores`; k is at least 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least one clip.")
        scores = self.scores(query, within)
        total = len(scores.values)
        if not total:
            return SearchResult([], [], 0, self.manifest_version)
        k = min(k, total)
        # The k-th score from each end; every row that reaches it is sorted, ties included.
        ordered = np.partition(scores.values, [k - 1, total - k])
        first = _ranked(scores, np.flatnonzero(scores.values >= ordered[total - k]))[:k]
        last = _ranked(scores, np.flatnonzero(scores.values <= ordered[k - 1]))[-k:]

        def hits(found: list[tuple[float, str]], first_rank: int) -> list[Hit]:
            return [
                Hit(clip_id, -negated, rank, 100.0 * (total - rank) / (total - 1) if total > 1 else 100.0)
                for rank, (negated, clip_id) in enumerate(found, first_rank)
            ]

        return SearchResult(hits(first, 1), hits(last, total - k + 1)[::-1], total, self.manifest_version)

    def vector(self, clip_id: str) -> NDArray[np.float32] | None:
        """Give a clip's vector as it was stored, float32 [dim]; None where the index has none of that id.

        Raises:
            StoreDamagedError: its segment is damaged.
        """
        for part in self._parts:
            row = part.segment.ids.row(clip_id)
            if row is not None and (part.live is None or part.live[row]):
                return np.array(part.segment.vectors[row])
        return None

    def _chosen(self, within: Collection[str] | None) -> list[NDArray[np.bool_] | None]:
        """Which rows of each part to score; None: all of them."""
        if within is None:
            return [part.live for part in self._parts]
        starts = np.cumsum([0, *(part.segment.count for part in self._parts)])
        chosen = np.zeros(starts[-1], dtype=np.bool_)
        places = self._places
        chosen[[row for clip_id in within if (row := places.get(clip_id)) is not None]] = True
        return [chosen[start:end] for start, end in pairwise(starts)]

    @cached_property
    def _places(self) -> dict[str, int]:
        """Each live id's row, counted through all parts. Made for the first filter; about 150 bytes an id."""
        places: dict[str, int] = {}
        start = 0
        for part in self._parts:
            ids = part.segment.ids.all()
            rows = range(len(ids)) if part.live is None else np.flatnonzero(part.live).tolist()
            places |= {ids[row]: start + row for row in rows}
            start += len(ids)
        return places

    @classmethod
    def _open(cls, directory: Path, recipe_digest: str, known: dict[str, Halves]) -> "Searcher":
        for attempt in range(_ATTEMPTS):
            before = signature(directory)
            manifest = Manifest.read(directory)
            if manifest.recipe_digest != recipe_digest:
                raise CatalogError(
                    f"The vectors in {directory} were computed by the recipe {manifest.recipe_digest[:12]}, "
                    f"queries by {recipe_digest[:12]}: scores would mean nothing. Use the index's own recipe."
                )
            try:
                parts = [_open_part(directory, entry, known) for entry in manifest.segments]
            except StoreDamagedError:
                # The writer deletes files of versions gone by: then there is a newer one to open.
                if attempt == _ATTEMPTS - 1 or signature(directory) == before:
                    raise
            else:
                return cls(directory, manifest, parts, before)
        raise AssertionError("the last attempt returns or raises")


def _open_part(directory: Path, entry: SegmentEntry, known: dict[str, Halves]) -> _Part:
    halves = known.get(entry.name) or Halves.open(Segment.open(directory / entry.name))
    if (halves.segment.digest, halves.segment.count) != (entry.sha256, entry.count):
        raise StoreDamagedError(f"The segment {directory / entry.name} is not the one that the manifest names.")
    if not entry.dead:
        return _Part(halves, None)
    live = np.ones(entry.count, dtype=np.bool_)
    live[list(entry.dead)] = False
    return _Part(halves, live)


def _ranked(scores: Scores, positions: NDArray[np.int64]) -> list[tuple[float, str]]:
    """Sort rows the most positive first, then by id: (negated score, id)."""
    return sorted((-float(scores.values[position]), scores.ids[int(position)]) for position in positions)
