"""The total order of scores, the most positive first and equal ones by id, and any stretch of it.

A stretch is selected, not sorted out: only its own rows, and those that tie with its ends, are sorted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motiontrace.catalog.vectors.rows import Scores


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


@dataclass(frozen=True)
class RankingPage:
    """Neighbours in a ranking."""

    hits: list[Hit]  # ranks r, r + 1, ...; where the page is ascending r, r - 1, ...
    total: int  # how many clips were ranked, after the filter
    manifest_version: int


def ends(scores: Scores, k: int, total: int, manifest_version: int) -> SearchResult:
    """Give k clips from each end of a ranking of `total`; `scores` need hold no others than those clips."""
    count = len(scores.values)
    k = min(k, count)
    top = _stretch(scores, 0, k, 1, total)
    bottom = _stretch(scores, count - k, count, total - k + 1, total)
    return SearchResult(top, bottom[::-1], total, manifest_version)


def page(
    scores: Scores, after: tuple[float, str] | None, limit: int, ascending: bool, manifest_version: int
) -> RankingPage:
    """Give `limit` clips from the beginning of a ranking, or from its end (ascending), or from behind a place in it."""
    total = len(scores.values)
    before, through = (total, 0) if after is None else _place(scores, *after)
    if ascending:
        start, stop = max(0, before - limit), before
    else:
        start, stop = through, min(total, through + limit)
    hits = _stretch(scores, start, stop, start + 1, total)
    return RankingPage(hits[::-1] if ascending else hits, total, manifest_version)


def contenders(values: NDArray[np.float32], k: int, error: float) -> NDArray[np.bool_]:
    """Tell which rows may be among the k of either end, where no value is wrong by more than `error`; bool [N]."""
    if k >= len(values):
        return np.ones(len(values), dtype=np.bool_)
    # k rows are truly no less than the k-th value less the error, and a row as good reads another error less.
    least, most = _value_at(values, k - 1) - 2 * error, _value_at(values, len(values) - k) + 2 * error
    return (values >= np.float32(least)) | (values <= np.float32(most))


def _place(scores: Scores, score: float, clip_id: str) -> tuple[int, int]:
    """Count the clips that stand before a place, and those that stand there or before."""
    value = np.float32(score)
    above = int(np.count_nonzero(scores.values > value))
    tied = [scores.ids[row] for row in np.flatnonzero(scores.values == value).tolist()]
    return above + sum(tie < clip_id for tie in tied), above + sum(tie <= clip_id for tie in tied)


def _stretch(scores: Scores, start: int, stop: int, first_rank: int, total: int) -> list[Hit]:
    """Give the rows from `start` up to `stop` of the order; `first_rank` is the rank of the first of them."""
    if start >= stop:
        return []
    values = scores.values
    highest = _value_at(values, start) if start else np.inf
    lowest = _value_at(values, stop - 1) if stop < len(values) else -np.inf
    rows = np.flatnonzero((values >= np.float32(lowest)) & (values <= np.float32(highest)))
    found = sorted((-float(values[row]), scores.ids[row]) for row in rows.tolist())
    skipped = start - int(np.count_nonzero(values > np.float32(highest)))
    return [
        Hit(clip_id, -negated, rank, 100.0 * (total - rank) / (total - 1) if total > 1 else 100.0)
        for rank, (negated, clip_id) in enumerate(found[skipped : skipped + stop - start], first_rank)
    ]


def _value_at(values: NDArray[np.float32], place: int) -> float:
    """Select the value at a place of the order, the highest at 0."""
    from_below = len(values) - 1 - place
    # One place a call: numpy vectorises that (0.6 ms of a million values), but not several at once (11 ms).
    return float(np.partition(values, from_below)[from_below])
