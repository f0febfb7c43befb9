"""Influence scores and what is read from them (docs/method.md#step-7-influence)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def influence(gradients: Floats, queries: Floats) -> Floats:
    """Influence of every clip on every query: the inner products of their unit gradients, in [-1, 1].

    `gradients` float32 [clips, dim], `queries` float32 [dim] or [queries, dim]; returns [clips] or
    [queries, clips].
    """
    return (np.atleast_2d(queries) @ gradients.T).reshape(*queries.shape[:-1], len(gradients))


def extremes(scores: Floats, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the `k` most positive (best first) and the `k` most negative (worst first) scores.

    Ties go to the earlier position, so the answer depends on nothing else. `k` above the count gives all.
    """
    order = np.argsort(-scores, kind="stable")
    worst = np.argsort(scores, kind="stable")
    return order[:k].astype(np.int64), worst[:k].astype(np.int64)


def votes(scores: Floats, percentile: float) -> NDArray[np.int64]:
    """Votes of `scores` [queries, clips]: each query gives one to every clip above its own percentile cut-off.

    `percentile` in [0, 100); returns int64 [clips], in [0, queries]. The paper takes 50 queries and the top
    10 % (percentile 90).
    """
    if not 0 <= percentile < 100:
        raise ValueError(f"percentile must be in [0, 100), not {percentile}")
    clips = scores.shape[1]
    if not clips:
        return np.zeros(0, np.int64)
    # The cut of np.percentile, between the two scores about it, which selects eight times as slowly.
    place = (clips - 1) * (percentile / 100)
    below = int(place)
    parted = np.partition(scores, below, axis=1)
    low = parted[:, below, None]
    high = parted[:, min(below + 1, clips - 1) :].min(axis=1, keepdims=True)
    share = place - below
    cut = low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
    return (scores > cut).sum(axis=0)
