"""Exact search over one version of the index: all N scores, and both ends of the ranking."""

import threading
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motiontrace.catalog.errors import CatalogError, StoreDamagedError
from motiontrace.catalog.vectors.faiss_index import FaissIndex
from motiontrace.catalog.vectors.manifest import Manifest, SegmentEntry, signature
from motiontrace.catalog.vectors.moments import moments_of
from motiontrace.catalog.vectors.ranking import RankingPage, SearchResult, contenders, ends, page
from motiontrace.catalog.vectors.rows import RowIds, Rows, Scores, narrowed, scores_of, scores_of_many, weighted_sum
from motiontrace.catalog.vectors.segment import Segment
from motiontrace.catalog.vectors.statistics import Statistics

_ATTEMPTS = 10  # to open a version before its writer has replaced it
_LONGEST = 1e37  # query, so that no score overflows
_VALUES_AT_ONCE = 1 << 25  # of `search_many`, 128 MB


class Searcher:
    """One version of an index, opened for reading; never changes, safe to share between threads.

    It goes on serving its version whatever the writer does: the files it has mapped live as long as it does.
    """

    def __init__(self, directory: Path, manifest: Manifest, parts: Sequence[Rows], signature: object) -> None:
        self.manifest_version = manifest.version
        self.recipe_digest = manifest.recipe_digest
        self.dim = manifest.dim
        self.total = manifest.total  # vectors in the index
        self._directory = directory
        self._parts = parts
        self._signature = signature
        self._statistics: Statistics | None = None
        self._statistics_lock = threading.Lock()

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
        if signature(self._directory) == self._signature and self.unchanged:
            return self
        known = {part.segment.path.name: part.index for part in self._parts if part.index.unchanged}
        return self._open(self._directory, self.recipe_digest, known)

    @property
    def unchanged(self) -> bool:
        """Whether the files that are mapped are as they were when they were opened; a `stat` of each."""
        return all(part.index.unchanged for part in self._parts)

    def check(self) -> None:
        """See that what is mapped can be read; all that reads it does so first.

        Raises:
            StoreDamagedError: a file was written to, or cut short.
        """
        for part in self._parts:
            if not part.index.unchanged:
                raise StoreDamagedError(
                    f"The segment {part.segment.path}, or the file beside it, has changed since it was opened: "
                    "something else has written to it. `motiontrace doctor --full` tells what is damaged."
                )

    @property
    def ids(self) -> RowIds:
        """The ids of all clips of the index, in the order in which `scores` gives theirs."""
        self.check()
        return RowIds(self._parts)

    def scores(
        self, query: NDArray[np.float32], within: Collection[str] | None = None, *, without: str | None = None
    ) -> Scores:
        """Score every clip of the index, or of the ids in `within`, exactly and in one pass.

        Scores are inner products of the query with the vectors rounded to half floats, summed in float32.
        The filter decides inside the scan which rows are read; ids that the index does not hold are ignored.

        Args:
            query: float32 [dim], finite.
            within: ids to rank; None ranks all.
            without: an id that is left out, such as that of the clip whose vector is the query.

        Raises:
            ValueError: the query has another shape, or a value that is not finite.
        """
        [checked] = self._checked(np.asarray(query)[None])
        return scores_of(self._chosen(within, without), checked)

    def scores_of_many(self, queries: NDArray[np.float32], within: Collection[str] | None = None) -> Scores:
        """Score every clip of the index, or of the ids in `within`, against many queries in one pass.

        The values are those of `scores` but for the order in which float32 sums up: the two differ by less
        than 1e-4 of the query's length at 512 floats, mostly in the last bits alone. So clips whose scores lie closer
        together than that may change places from one method to the other, and clips with the same vector may
        differ in the last bit. `search_many` knows no such difference.

        Args:
            queries: float32 [queries, dim], finite.
            within: ids to rank; None ranks all.

        Returns:
            Scores with values [queries, N], 4 bytes each.

        Raises:
            ValueError: the queries have another shape, or a value that is not finite.
        """
        return scores_of_many(self._chosen(within), self._checked(queries))

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        within: Collection[str] | None = None,
        *,
        without: str | None = None,
    ) -> SearchResult:
        """Rank every clip of the index, or of the ids in `within`, and give k from each end.

        Equal scores are ranked in the order of their ids, so the same question has one answer. Arguments
        and errors as in `scores`; k is at least 1.
        """
        _check_count("k", k)
        scores = self.scores(query, within, without=without)
        return ends(scores, k, len(scores.values), self.manifest_version)

    def search_many(
        self, queries: NDArray[np.float32], k: int, within: Collection[str] | None = None
    ) -> list[SearchResult]:
        """Give what `search` gives for each of the queries, to the bit, in few passes over the index.

        `scores_of_many` finds the clips that can be among the k of either end, its rounding allowed for;
        those alone are scored again as `search` scores them. Arguments and errors as in `scores_of_many`.
        """
        _check_count("k", k)
        queries = self._checked(queries)
        parts = self._chosen(within)
        total = sum(len(part) for part in parts)
        at_once = max(1, _VALUES_AT_ONCE // max(1, total))
        results = []
        for start in range(0, len(queries), at_once):
            some = queries[start : start + at_once]
            for query, values in zip(some, scores_of_many(parts, some).values, strict=True):
                chosen = contenders(values, k, 2 * self._rounding(query))
                results.append(ends(scores_of(narrowed(parts, chosen), query), k, total, self.manifest_version))
        return results

    def ranked(
        self,
        query: NDArray[np.float32],
        *,
        after: tuple[float, str] | None = None,
        limit: int,
        ascending: bool = False,
        within: Collection[str] | None = None,
        without: str | None = None,
    ) -> RankingPage:
        """Rank every clip of the index, or of the ids in `within`, and give a page of the ranking.

        The order is that of `search`: score descending, equal ones by id. Pages, each after the last hit of the one
        before, hold every clip once. That holds of one version of the index; in a later one a page begins
        behind the same place, whether or not a clip still stands there. Errors as in `scores`.

        Args:
            query: float32 [dim], finite.
            after: the place behind which the page begins, a hit's `score` as it was given, unrounded, and `id`.
            limit: the most hits of a page, at least 1; fewer come where the ranking ends.
            ascending: from the last of the ranking to the first.
            within: ids to rank; None ranks all.
            without: an id that is left out.
        """
        _check_count("limit", limit)
        if after is not None and not np.isfinite(after[0]):
            raise ValueError(f"The score of the place to go on from is {after[0]}: it must be finite.")
        return page(self.scores(query, within, without=without), after, limit, ascending, self.manifest_version)

    def statistics(self) -> Statistics:
        """Give the statistics of this version, over the half floats that `scores` reads; made when first asked for.

        They depend on the vectors alone: not on segments, order, threads or machine. That takes a few milliseconds a
        segment where the file beside it is there, else a second a hundred thousand vectors.

        Raises:
            CatalogError: the vectors have more than `motiontrace.catalog.vectors.moments.MAX_DIM` numbers.
        """
        with self._statistics_lock:
            if self._statistics is None:
                self.check()
                self._statistics = Statistics(moments_of(self._parts, self.dim), self.manifest_version)
            return self._statistics

    def vector(self, clip_id: str) -> NDArray[np.float32] | None:
        """Give a clip's vector as it was stored, float32 [dim]; None where the index has none of that id.

        Raises:
            StoreDamagedError: its segment is damaged.
        """
        self.check()
        for part in self._parts:
            row = part.of(clip_id)
            if row is not None:
                return np.array(part.segment.vectors[row])
        return None

    def weighted_sum(self, positions: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of some vectors, rounded to half floats, times their weights.

        Args:
            positions: int64 [n], of the vectors in `ids`.
            weights: float64 [n].

        Returns:
            float64 [dim]; zeros where there are none.
        """
        self.check()
        return weighted_sum(self._parts, positions, weights, self.dim)

    def _checked(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """See that queries [queries, dim] can be scored."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            shape = queries.shape[1:]
            raise ValueError(f"A query has shape {shape}, the index {self._directory} has dim {self.dim}.")
        # No score, nor part of its sum, is longer than the query; written so that NaN is refused too.
        if not (np.linalg.norm(queries.astype(np.float64), axis=1) < _LONGEST).all():
            raise ValueError(f"A query has a value that is not finite, or is longer than {_LONGEST:g}.")
        return queries

    def _rounding(self, query: NDArray[np.float32]) -> float:
        """Bound the error of a score's float32 sum, whatever its order (Higham, Accuracy and Stability, 3.1).

        Vectors are shorter than 1.01: those stored have length 1 within 1e-3, and half floats round by 2^-11.
        """
        length = float(np.linalg.norm(query.astype(np.float64)))
        return (1.01 * self.dim + 8) * 2.0**-24 * length + self.dim * float(np.finfo(np.float32).tiny)

    def _chosen(self, within: Collection[str] | None, without: str | None = None) -> Sequence[Rows]:
        """Which rows to score."""
        self.check()
        parts = self._parts if within is None else self._filtered(within)
        return parts if without is None else [part.without(without) for part in parts]

    def _filtered(self, within: Collection[str]) -> Sequence[Rows]:
        starts = [0, *accumulate(part.segment.count for part in self._parts)]
        chosen = np.zeros(starts[-1], dtype=np.bool_)
        places = self._places
        chosen[[row for clip_id in within if (row := places.get(clip_id)) is not None]] = True
        ranges = pairwise(starts)
        return [
            Rows(part.index, None).narrowed(chosen[start:end])
            for part, (start, end) in zip(self._parts, ranges, strict=True)
        ]

    @cached_property
    def _places(self) -> dict[str, int]:
        """Each live id's row, counted through all parts. Made for the first filter; about 150 bytes an id."""
        places: dict[str, int] = {}
        start = 0
        for part in self._parts:
            ids = part.segment.ids.all()
            places |= {ids[row]: start + row for row in part.numbers.tolist()}
            start += len(ids)
        return places

    @classmethod
    def _open(cls, directory: Path, recipe_digest: str, known: dict[str, FaissIndex]) -> "Searcher":
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


def _open_part(directory: Path, entry: SegmentEntry, known: dict[str, FaissIndex]) -> Rows:
    index = known.get(entry.name) or FaissIndex.open(Segment.open(directory / entry.name))
    if (index.segment.digest, index.segment.count) != (entry.sha256, entry.count):
        raise StoreDamagedError(f"The segment {directory / entry.name} is not the one that the manifest names.")
    if not entry.dead:
        return Rows(index, None)
    live = np.ones(entry.count, dtype=np.bool_)
    live[list(entry.dead)] = False
    return Rows(index, live)


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{name} is {count}: ask for at least one clip.")
