"""How well predictions rank outcomes, and how well they could: the arithmetic of linear datamodelling scores.

A linear datamodelling score (LDS; Park et al., "TRAK", 2023) is Spearman's rank correlation, over subsets of the
training clips, of what a method predicts for a model trained on each and what came out. Outcomes are noisy: trained
once more in another order, the same subset gives another model. Two such repeats correlate by the outcome's
reliability, and a prediction cannot be expected to correlate with their mean by more than the root of the mean's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

BOOTSTRAPS = 2000
_CONFIDENCE = 95.0
_ROUNDING = 1e-12  # of its size: a row of numbers that differ by less does not vary


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure, and what it would have been on data drawn again. Differences are paired: the draws are the same."""

    value: float
    draws: NDArray[np.float64]
    """[BOOTSTRAPS]."""

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two figures of the same data."""
        return Estimate(self.value - other.value, self.draws - other.draws)

    def interval(self) -> Interval:
        """The figure with its interval."""
        tail = (100 - _CONFIDENCE) / 2
        low, high = np.percentile(self.draws, [tail, 100 - tail])
        return Interval(self.value, float(low), float(high))


def means(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number over those that have it, by name."""
    values: dict[str, list[float]] = {}
    for numbers in found:
        for name, value in numbers.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(values[name])) for name in sorted(values)}


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation along the last axis, [...]; 0 where one of the two does not vary."""
    (a, varies), (b, also) = (_standardised(values) for values in (a, b))
    return np.where(varies & also, np.clip((a * b).sum(-1), -1, 1), 0.0)


def _standardised(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows less their means and of unit length, and which of them vary by more than they are rounded, [...]."""
    off = values - values.mean(-1, keepdims=True)
    length = np.linalg.norm(off, axis=-1, keepdims=True)
    varies = length > _ROUNDING * np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(off, length, out=np.zeros_like(off), where=varies), varies[..., 0]


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rank correlation along the last axis, [...]; 0 where one of the two does not vary."""
    return correlation(rankdata(a, axis=-1), rankdata(b, axis=-1))


def reliability(outcomes: Sequence[NDArray[np.float64]]) -> float:
    """How far the mean of all repeats would come out again, in [0, 1].

    `outcomes` are blocks [repeats, queries, subsets], two repeats or more. The correlation of two repeats over
    subsets, mean over queries and pairs of repeats, is brought to the mean of all of them by the formula of Spearman
    and Brown. Raises ValueError for one repeat.
    """
    repeats = len(outcomes[0])
    if repeats < 2:
        raise ValueError("reliability takes two repeats or more")
    pairs = [(i, j) for i in range(repeats) for j in range(i)]
    single = np.mean(np.concatenate([correlation(block[i], block[j]) for block in outcomes for i, j in pairs]))
    kept = max(0.0, float(single))
    return repeats * kept / (1 + (repeats - 1) * kept)


def ceiling(outcomes: Sequence[NDArray[np.float64]]) -> float:
    """The highest correlation with the mean of the repeats to be expected of any prediction, in [0, 1]."""
    return float(np.sqrt(reliability(outcomes)))


def datamodelling_score(
    predictions: Sequence[NDArray[np.float64]], outcomes: Sequence[NDArray[np.float64]]
) -> Estimate:
    """LDS of `predictions` for `outcomes`, both blocks [queries, subsets]: Spearman a query, and their mean.

    The bootstrap draws queries and subsets of each block again, with replacement. Its draws depend on the blocks'
    shapes alone.
    """
    value = mean_spearman(predictions, outcomes)
    rng = np.random.default_rng(0)
    total, rows = np.zeros(BOOTSTRAPS), 0
    for predicted, came in zip(predictions, outcomes, strict=True):
        queries, subsets = came.shape
        row = rng.integers(queries, size=(BOOTSTRAPS, queries, 1))
        column = rng.integers(subsets, size=(BOOTSTRAPS, 1, subsets))
        total += spearman(predicted[row, column], came[row, column]).sum(1)
        rows += queries
    return Estimate(value, total / rows)


def mean_spearman(predictions: Sequence[NDArray[np.float64]], outcomes: Sequence[NDArray[np.float64]]) -> float:
    """Spearman's correlation over the subsets, a query at a time, and their mean over the queries of all blocks.

    A block is [queries, subsets].
    """
    return float(np.concatenate([spearman(p, o) for p, o in zip(predictions, outcomes, strict=True)]).mean())
