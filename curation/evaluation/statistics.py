"""How well predictions rank outcomes, and how well they could: the arithmetic of linear datamodelling scores.

A linear datamodelling score (LDS; Park et al., "TRAK", 2023) is Spearman's rank correlation, over subsets of the
training clips, of what a method predicts for a model trained on each and what came out. Outcomes are noisy: trained
once more in another order, the same subset gives another model. Two such repeats correlate by the outcome's
reliability, and a prediction cannot be expected to correlate with their mean by more than the root of the mean's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

BOOTSTRAPS = 2000
_CONFIDENCE = 95.0


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation along the last axis, [...]; 0 where one of the two does not vary."""
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    product, squares = (a * b).sum(-1), (a * a).sum(-1) * (b * b).sum(-1)
    return np.divide(product, np.sqrt(squares), out=np.zeros_like(product), where=squares > 1e-24)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rank correlation along the last axis, [...]; 0 where one of the two does not vary."""
    return correlation(rankdata(a, axis=-1), rankdata(b, axis=-1))


def reliability(outcomes: Sequence[NDArray[np.float64]]) -> float:
    """How far the mean of all repeats would come out again, in [0, 1].

    ``outcomes`` are blocks [repeats, queries, subsets], two repeats or more. The correlation of two repeats over
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


def datamodelling_score(predictions: Sequence[NDArray[np.float64]], outcomes: Sequence[NDArray[np.float64]]
                        ) -> Interval:  # fmt: skip
    """LDS of ``predictions`` for ``outcomes``, both blocks [queries, subsets]: Spearman a query, and their mean."""
    return _bootstrap(lambda block, pick: spearman(predictions[block][pick], outcomes[block][pick]), outcomes)


def paired_difference(ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]],
                      outcomes: Sequence[NDArray[np.float64]]) -> Interval:  # fmt: skip
    """LDS of ``ours`` less that of ``theirs``, on the same draws; all blocks are [queries, subsets]."""
    return _bootstrap(
        lambda block, pick: (
            spearman(ours[block][pick], outcomes[block][pick]) - spearman(theirs[block][pick], outcomes[block][pick])
        ),
        outcomes,
    )


def _bootstrap(statistic: Callable[[int, Any], NDArray[np.float64]], blocks: Sequence[NDArray[np.float64]]) -> Interval:
    """The mean of ``statistic(block, positions)`` over the queries of all blocks, with its interval.

    Queries and subsets of each block are drawn again with replacement. The draws depend on the blocks' shapes alone,
    so intervals of several statistics are paired.
    """
    rng = np.random.default_rng(0)

    def drawn(draw: Callable[[int], NDArray[np.intp]]) -> float:
        values = [statistic(i, np.ix_(draw(len(block)), draw(block.shape[1]))) for i, block in enumerate(blocks)]
        return float(np.concatenate(values).mean())

    draws = [drawn(lambda count: rng.integers(count, size=count)) for _ in range(BOOTSTRAPS)]
    tail = (100 - _CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(drawn(lambda count: np.arange(count)), float(low), float(high))
