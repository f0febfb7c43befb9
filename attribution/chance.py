"""Where chance lies among the scores of a query: what clips that have nothing to do with it would score.

Of the N scores of a query most belong to clips that are unrelated to it, and these lie about one middle (Efron's
empirical null, "Large-Scale Simultaneous Hypothesis Testing", 2004). Scores are cosines, which crowd before 1, so all
is found in Fisher's z, the arctanh of a score, where spreads are alike; the ends are scores again, between -1 and 1.
The shortest stretch that holds half of all (Rousseeuw, 1984) tells the middle and the spread. Up to half of the clips
may be related, and the stretch hardly moves.

- The spread is 1 / sqrt(dim) at least, which two random directions of that many numbers score. Where all scores are
  smaller than that, it is their own size.
- Copies of one clip, or near ones, tell nothing of others. They show where a third of all scores is far closer
  together than the rest: then the spread is that of all scores, so that little stands out.
- Chance reaches from zero, which is what a clip without any influence scores, to the middle, which is what all clips
  share; and beyond both ends by so many spreads that among N unrelated clips not one lies outside.
- That is a family-wise rate (Bonferroni's): by chance at most `RATE` of all queries have a clip below `low`, and
  as many one above `high`. The spread is an estimate of few scores, so the quantile is Student's. Unrelated scores
  have heavier tails than normal ones, so it is taken further out (`_TAILS`, measured:
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
RATE = 0.025  # of unrelated queries that have a clip beyond one of the ends, by chance
LEAST_CLIPS = 21  # of fewer scores nobody can tell how far unrelated ones reach
ALIKE = 1 - 2**-11  # a cosine beyond it is 1, as far as half floats can tell
_EFFICIENCY = 0.37  # of the shortest half's spread: so many independent scores is each score worth
_TAILS = 1.4  # so much further than normal scores real unrelated ones reach
_COPIES = 0.5  # of the half's spread, and of the least: a third of all scores with less is of copies
_MOST_SORTED = 1 << 16  # scores, which tell the spread to half a per cent; of more every so many-th is looked at


@dataclass(frozen=True)
class Chance:
    """Where chance lies among a query's scores.

    Attributes:
        clips: how many scores were looked at: those of all clips of the index, whatever is filtered.
        centre: the middle of the scores of unrelated clips; 0 of fewer than `LEAST_CLIPS`, as `spread` is.
        spread: the standard deviation of their arctanh.
        low, high: what unrelated clips score lies between, from -`ALIKE` to `ALIKE`; None where there are too few
            clips to tell.
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
    """What a clip of this score does to the motion, `Chance.low` and `high` given; None: chance explains it."""
    if high is not None and min(score, ALIKE) > high:
        return "teaches"
    return "fights" if low is not None and max(score, -ALIKE) < low else None


def chance_of(scores: NDArray[np.float32], dim: int, *, queries: int = 1) -> Chance:
    """Tell where chance lies among the scores of one query.

    Args:
        scores: float32 [N], finite, of all clips of an index.
        dim: how many numbers a gradient has.
        queries: how many queries' scores are looked at in one go: `RATE` is then that of all together.
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
    """Middle and spread of what unrelated clips have among these numbers, ascending."""
    centre, half = _shortest(some, 1 / 2)
    least = min(1 / math.sqrt(dim), math.sqrt(np.mean(np.square(some))))
    spread = max(half, least)
    if _shortest(some, 1 / 3)[1] < _COPIES * spread:
        spread = max(spread, float(np.std(some)))
    return centre, spread


def _shortest(some: NDArray[np.float64], share: float) -> tuple[float, float]:
    """The middle of the shortest stretch that holds this share of the numbers, and the standard deviation it tells."""
    held = int(len(some) * share) + 1
    lengths = some[held - 1 :] - some[: len(some) - held + 1]
    shortest = np.flatnonzero(lengths == lengths.min())  # several: the middle of the first and the last, as mirrored
    # Of few scores the shortest stretch is too short (Rousseeuw and Leroy, "Robust Regression", 1987, 5.1).
    spread = float(lengths.min()) / (2 * NormalDist().inv_cdf((1 + share) / 2)) * (1 + 5 / len(some))
    return float(some[shortest[0]] + some[shortest[-1] + held - 1]) / 2, spread


def _quantile(tail: float, freedom: float) -> float:
    """Student's t that leaves `tail` above it, by Wallace's approximation (1959), which is wide for few clips."""
    normal = -NormalDist().inv_cdf(tail)
    stretched = normal * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(stretched**2 / freedom))
