"""The range of scores that chance explains: what clips unrelated to a query would score.

Most of a query's N scores belong to unrelated clips, and these lie about one centre (Efron's empirical null,
"Large-Scale Simultaneous Hypothesis Testing", 2004). Scores are cosines, which crowd near 1. So centre and spread are
estimated in Fisher's z, the arctanh of a score, where spreads are alike. The ends of the range are scores again,
between -1 and 1. Centre and spread come from the shortest interval that holds half of all scores (Rousseeuw, 1984). It
hardly moves when up to half of the clips are related.

- The spread is at least 1 / sqrt(dim), that of the cosine of two random directions. Where all scores are smaller, it is
  their own size.
- Copies of one clip, or near copies, say nothing about other clips. They are recognised where a third of all scores
  lies far closer together than the rest. The spread is then that of all scores, so that little stands out.
- The range spans zero, the score of a clip without influence, and the centre, which all clips share. It reaches beyond
  both by so many spreads that among N unrelated clips none is expected outside.
- That is a family-wise rate (Bonferroni's): by chance at most `RATE` of all queries have a clip below `low`, and at
  most `RATE` one above `high`. The spread is estimated from few scores, so the quantile is Student's. Unrelated scores
  have heavier tails than normal ones, so the quantile is multiplied by `_TAILS` (measured:
  docs/method.md#what-a-score-means).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

StandsOut = Literal["teaches", "fights"]
RATE = 0.025  # share of unrelated queries that have a clip beyond one given end by chance
LEAST_CLIPS = 21  # fewer scores are too few to estimate how far unrelated ones reach
ALIKE = 1 - 2**-11  # a cosine beyond it is 1 within half-float precision
_EFFICIENCY = 0.37  # statistical efficiency of the shortest half's spread: N scores count as 0.37 N
_TAILS = 1.4  # unrelated scores reach this many times as far as normal ones
_COPIES = 0.5  # a third of all scores are copies if their spread is less than this share of the half's and of the least
_MOST_SORTED = 1 << 16  # scores, enough for the spread to half a per cent; of more, an evenly spaced sample is used


@dataclass(frozen=True)
class Chance:
    """Where chance lies among a query's scores.

    Attributes:
        clips: number of scores: those of all clips of the index, whatever the filter.
        centre: centre of the scores of unrelated clips; 0 with fewer clips than `LEAST_CLIPS`, as `spread` is.
        spread: the standard deviation of their arctanh.
        low, high: the scores of unrelated clips lie between them, within -`ALIKE` to `ALIKE`; None where there are too
            few clips.
        teaches: how many clips score above `high`.
        fights: how many score below `low`, which is never above zero.
        positive, negative: how many score above zero, and below.
    """

    clips: int
    centre: float
    spread: float
    low: float | None
    high: float | None
    teaches: int
    fights: int
    positive: int
    negative: int


def stands_out(score: float, low: float | None, high: float | None) -> StandsOut | None:
    """Whether a clip of this score teaches or fights the motion, by `Chance.low` and `high`; None: neither."""
    if high is not None and min(score, ALIKE) > high:
        return "teaches"
    return "fights" if low is not None and max(score, -ALIKE) < low else None


def chance_of(scores: NDArray[np.float32], dim: int, *, queries: int = 1) -> Chance:
    """Estimate the range of scores that chance explains, for one query.

    Args:
        scores: float32 [N], finite, of all clips of an index.
        dim: how many numbers a gradient has.
        queries: number of queries that are judged together: `RATE` then holds for all of them together.
    """
    clips = len(scores)
    signs = int(np.count_nonzero(scores > 0)), int(np.count_nonzero(scores < 0))
    if clips < LEAST_CLIPS:
        return Chance(clips, 0.0, 0.0, None, None, 0, 0, *signs)
    bounded = np.clip(scores, -ALIKE, ALIKE)
    centre, spread = _middle(np.sort(np.arctanh(bounded[:: -(-clips // _MOST_SORTED)], dtype=np.float64)), dim)
    reach = _TAILS * spread * _quantile(RATE / (clips * queries), _EFFICIENCY * (clips - 1))
    ends = np.tanh((min(centre, 0.0) - reach, max(centre, 0.0) + reach)).clip(-ALIKE, ALIKE).astype(np.float32)
    outside = int(np.count_nonzero(bounded > ends[1])), int(np.count_nonzero(bounded < ends[0]))
    return Chance(clips, math.tanh(centre), spread, float(ends[0]), float(ends[1]), *outside, *signs)


def _middle(some: NDArray[np.float64], dim: int) -> tuple[float, float]:
    """Centre and spread of the unrelated clips' numbers among these, which ascend."""
    centre, half = _shortest(some, 1 / 2)
    least = min(1 / math.sqrt(dim), math.sqrt(np.mean(np.square(some))))
    spread = max(half, least)
    if _shortest(some, 1 / 3)[1] < _COPIES * spread:
        spread = max(spread, float(np.std(some)))
    return centre, spread


def _shortest(some: NDArray[np.float64], share: float) -> tuple[float, float]:
    """The centre of the shortest interval that holds this share of the numbers, and its standard deviation estimate."""
    held = int(len(some) * share) + 1
    lengths = some[held - 1 :] - some[: len(some) - held + 1]
    shortest = np.flatnonzero(lengths == lengths.min())  # several: the middle of the first and the last, as mirrored
    # With few scores the shortest interval is too short (Rousseeuw and Leroy, "Robust Regression", 1987, 5.1).
    spread = float(lengths.min()) / (2 * NormalDist().inv_cdf((1 + share) / 2)) * (1 + 5 / len(some))
    return float(some[shortest[0]] + some[shortest[-1] + held - 1]) / 2, spread


def _quantile(tail: float, freedom: float) -> float:
    """Student's t that leaves `tail` above it, by Wallace's approximation (1959), which is wide for few clips."""
    normal = -NormalDist().inv_cdf(tail)
    stretched = normal * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(stretched**2 / freedom))
