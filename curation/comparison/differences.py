"""Paired differences between two models' videos, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOOTSTRAPS = 2000
LEAST_PROMPTS = 8  # with fewer an interval misses what it should hold too often (docs/comparing.md)
_TAIL = 0.025  # of a 95 % interval, on either side


@dataclass(frozen=True)
class Difference:
    """One measure of two models over the same prompts and seeds.

    Attributes:
        base, tuned: means over the pairs in which both videos have a value; None where there is no such pair.
        difference: tuned less base.
        low, high: its 95 % interval; None for pairs of fewer than `LEAST_PROMPTS` prompts.
        base_videos, tuned_videos: how many videos of each model have a value.
        pairs: in how many pairs both have one.
        prompts: of how many prompts these pairs are.
    """

    base: float | None
    tuned: float | None
    difference: float | None
    low: float | None
    high: float | None
    base_videos: int
    tuned_videos: int
    pairs: int
    prompts: int


def paired_difference(base: NDArray[np.float64], tuned: NDArray[np.float64], seed: int = 0) -> Difference:
    """Compares two models.

    Videos of one prompt are alike, so prompts are what is independent: the bootstrap draws prompts again, each with
    all its pairs. Percentiles of few draws are too narrow: they are taken further out, as Student's t and n / (n - 1)
    say for the mean of n prompts (Hesterberg, "What Teachers Should Know about the Bootstrap", 2015).

    Args:
        base: float64 [prompts, seeds]; not finite where a video has no value.
        tuned: the same of the other model.
        seed: of the draws.
    """
    has_base, has_tuned = np.isfinite(base), np.isfinite(tuned)
    both = has_base & has_tuned
    counts = int(has_base.sum()), int(has_tuned.sum()), int(both.sum()), int(both.any(axis=1).sum())
    if not both.any():
        return Difference(None, None, None, None, None, *counts)
    differences = np.where(both, np.subtract(tuned, base, where=both, out=np.zeros_like(base)), 0.0)
    of_base, of_tuned, of_difference = (float(each[both].mean()) for each in (base, tuned, differences))
    low, high = _interval(differences.sum(axis=1), both.sum(axis=1), np.random.default_rng(seed))
    return Difference(of_base, of_tuned, of_difference, low, high, *counts)


def _interval(
    sums: NDArray[np.float64], counts: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float] | tuple[None, None]:
    """The interval of the mean over all pairs: sums of the differences and counts of the pairs, [prompts]."""
    sums, counts = sums[counts > 0], counts[counts > 0]
    prompts = len(sums)
    if prompts < LEAST_PROMPTS:
        return None, None
    drawn = rng.integers(prompts, size=(BOOTSTRAPS, prompts))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = 100 * norm.cdf(student.ppf(_TAIL, prompts - 1) * np.sqrt(prompts / (prompts - 1)))
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
