"""Where chance lies among the scores of a query: what clips that have nothing to do with it would score.

Of the N scores of a query most belong to clips that are unrelated to it, and these lie about one middle, as normal
numbers do (Efron's empirical null, "Large-Scale Simultaneous Hypothesis Testing", 2004). The shortest stretch that
holds half of all scores (Rousseeuw, 1984) tells its middle and spread. Up to half of the clips may be related, and the
stretch hardly moves.

- The spread is 1 / sqrt(dim) at least, which two random directions of that many numbers score. So near twins, whose
  scores do not spread, make no other clip stand out. Where all scores are smaller than that, it is their own size.
- Chance reaches from zero, which is what a clip without any influence scores, to the middle, which is what all clips
  share; and beyond both ends by so many spreads that among N unrelated clips not one lies outside.
- That is a family-wise rate (Bonferroni's): by chance at most ``RATE`` of all queries have a clip below ``low``, and
  as many one above ``high``. The spread is an estimate of few scores, so the quantile is Student's.
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
RATE = 0.025  # of unrelated queries that have a clip beyond one of the ends, by chance
LEAST_CLIPS = 8  # of fewer scores nobody can tell a spread
_EFFICIENCY = 0.37  # of the shortest half's spread: so many independent scores is each score worth
_HALF_IN_SPREADS = 2 * NormalDist().inv_cdf(0.75)
_MOST_SORTED = 1 << 20  # scores; of more every so many-th is looked at


@dataclass(frozen=True)
class Chance:
    """Where chance lies among a query's scores.

    Attributes:
        clips: how many scores were looked at: those of all clips of the index, whatever is filtered.
        centre: the middle of the scores of unrelated clips; 0 of fewer than ``LEAST_CLIPS``, as ``spread`` is.
        spread: their standard deviation.
        low, high: what unrelated clips score lies between; None where there are too few clips to tell.
        teaches: how many clips score above ``high``.
        fights: how many score below ``low``, which is never above zero.
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
    """What a clip of this score does to the motion, ``Chance.low`` and ``high`` given; None: chance explains it."""
    if high is not None and score > high:
        return "teaches"
    return "fights" if low is not None and score < low else None


def chance_of(scores: NDArray[np.float32], dim: int, *, queries: int = 1) -> Chance:
    """Tell where chance lies among the scores of one query.

    Args:
        scores: float32 [N], finite, of all clips of an index.
        dim: how many numbers a gradient has.
        queries: how many queries' scores are looked at in one go: ``RATE`` is then that of all together.
    """
    clips = len(scores)
    signs = int(np.count_nonzero(scores > 0)), int(np.count_nonzero(scores < 0))
    if clips < LEAST_CLIPS:
        return Chance(clips, 0.0, 0.0, None, None, 0, 0, *signs)
    centre, spread = _shortest_half(scores)
    size = float(np.sqrt(np.mean(np.square(scores, dtype=np.float64))))
    spread = max(spread, min(1 / math.sqrt(dim), size))
    reach = spread * _quantile(RATE / (clips * queries), _EFFICIENCY * (clips - 1))
    low, high = (float(np.float32(end)) for end in (min(centre, 0.0) - reach, max(centre, 0.0) + reach))
    outside = int(np.count_nonzero(scores > high)), int(np.count_nonzero(scores < low))
    return Chance(clips, centre, spread, low, high, *outside, *signs)


def _shortest_half(scores: NDArray[np.float32]) -> tuple[float, float]:
    """The middle of the shortest stretch that holds half of the scores, and the standard deviation that it tells."""
    some = np.sort(scores[:: -(-len(scores) // _MOST_SORTED)]).astype(np.float64)
    half = len(some) // 2 + 1
    lengths = some[half - 1 :] - some[: len(some) - half + 1]
    start = int(np.argmin(lengths))
    # Of few scores the shortest stretch is too short (Rousseeuw and Leroy, "Robust Regression", 1987, 5.1).
    spread = float(lengths[start]) / _HALF_IN_SPREADS * (1 + 5 / len(some))
    return float(some[start] + some[start + half - 1]) / 2, spread


def _quantile(tail: float, freedom: float) -> float:
    """Student's t that leaves ``tail`` above it, by Wallace's approximation (1959), which is wide for few clips."""
    normal = -NormalDist().inv_cdf(tail)
    stretched = normal * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(stretched**2 / freedom))
