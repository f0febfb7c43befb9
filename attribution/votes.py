"""The paper's votes: how many queries rank a clip near the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def votes(scores: NDArray[np.float32], percentile: float) -> NDArray[np.int64]:
    """Votes of `scores` [queries, clips]: each query gives one to every clip above its own percentile cut-off.

    `percentile` in [0, 100); returns int64 [clips], in [0, queries]. The paper takes 50 queries and the top
    10 % (percentile 90).
    """
    if not 0 <= percentile < 100:
        raise ValueError(f"percentile must be in [0, 100), not {percentile}")
    clips = scores.shape[1]
    if not clips:
        return np.zeros(0, np.int64)
    # The same cut-off as np.percentile, interpolated between two scores, but eight times as fast.
    place = (clips - 1) * (percentile / 100)
    below = int(place)
    parted = np.partition(scores, below, axis=1)
    low = parted[:, below, None]
    high = parted[:, min(below + 1, clips - 1) :].min(axis=1, keepdims=True)
    share = place - below
    cut = low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
    return (scores > cut).sum(axis=0)
