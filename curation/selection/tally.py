"""What many queries say of each clip, added up query by query: only one query's scores are held at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.votes import votes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tally:
    """Votes and mean scores of N clips."""

    votes: NDArray[np.int32]
    """[N], how many queries count the clip among those that taught their motion, in [0, queries]."""
    against: NDArray[np.int32]
    """[N], how many have it at the bottom of their ranking; no query does both."""
    score: NDArray[np.float32]
    """[N], the mean of the queries' scores."""
    queries: int


def tally(scores: Iterable[NDArray[np.float32]], percentile: float) -> Tally:
    """Add up the scores [N] of one query after another.

    A query votes for the clips above its own `percentile`, in [50, 100), and against those below the mirror image of
    it: 90 is the best and the worst tenth. Means are summed in float64 in the order of the queries.

    Raises ValueError where there is no query.
    """
    count = 0
    for values in scores:
        if not count:
            clips = len(values)
            positive, negative = np.zeros(clips, np.int32), np.zeros(clips, np.int32)
            total = np.zeros(clips, np.float64)
        count += 1
        positive += votes(values[None], percentile).astype(np.int32)
        negative += votes(-values[None], percentile).astype(np.int32)
        total += values
    if not count:
        raise ValueError("a tally needs a query")
    return Tally(positive, negative, (total / count).astype(np.float32), count)
