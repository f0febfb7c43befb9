"""Paired differences between two models' videos, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Difference:
    """One measure of two models over the same prompts and seeds.

    Attributes:
        base, tuned: means over the pairs in which both videos have a value; None where there is no such pair.
        difference: tuned less base.
        low, high: its 95 % bootstrap interval; None for under three pairs.
        pairs: how many there are.
    """

    base: float | None
    tuned: float | None
    difference: float | None
    low: float | None
    high: float | None
    pairs: int


def paired_difference(base: NDArray[np.float64], tuned: NDArray[np.float64], seed: int = 0) -> Difference:
    """Compares two models.

    Videos of one prompt are more alike than others: the bootstrap draws prompts again, and then seeds within each.
    With one prompt the interval speaks of that prompt alone.

    Args:
        base, tuned: float64 [prompts, seeds]; NaN where a video has no value.
        seed: of the draws.
    """
    differences = tuned - base
    both = ~np.isnan(differences)
    pairs = int(both.sum())
    if not pairs:
        return Difference(None, None, None, None, None, 0)
    means = float(base[both].mean()), float(tuned[both].mean()), float(differences[both].mean())
    if pairs < 3:
        return Difference(*means, None, None, pairs)
    drawn = _drawn_means(differences[both.any(axis=1)], np.random.default_rng(seed))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Difference(*means, float(low), float(high), pairs)


def _drawn_means(differences: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The mean of each of the draws; each prompt of [prompts, seeds] has a value."""
    prompts, seeds = differences.shape
    # Each prompt's values first, so that those that it has are drawn by their number.
    values = np.take_along_axis(differences, np.argsort(np.isnan(differences), axis=1, kind="stable"), axis=1)
    counts = np.count_nonzero(~np.isnan(differences), axis=1, keepdims=True)
    means = np.empty(BOOTSTRAPS)
    for index in range(BOOTSTRAPS):
        chosen = rng.integers(prompts, size=(prompts, 1))
        places = (rng.random((prompts, seeds)) * counts[chosen, 0]).astype(np.intp)
        counted = np.arange(seeds) < counts[chosen, 0]
        means[index] = values[chosen, places][counted].mean()
    return means
