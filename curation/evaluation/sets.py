"""Whether what is predicted of a set of clips comes: by the sum of its clips' scores, and by the set's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.evaluation.counterfactual import queries_of
from motiontrace.curation.evaluation.statistics import spearman

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from motiontrace.curation.evaluation.counterfactual import Ranking

_FEWEST = 3  # sets that a rank correlation is taken of


@dataclass(frozen=True)
class Agreement:
    """Spearman's correlation of what was predicted of sets with what came, the mean over motions.

    The sets have equally many clips.
    """

    sets: int
    summed: float
    """Predicted: the sum of the clips' scores for the motion's measured clips."""
    together: float
    """Predicted: the same, divided by the length of the set's summed gradient (`curation/selection/matching.py`)."""


def agreement(
    falls: Mapping[tuple[int, ...], NDArray[np.float64]], size: int, ranking: Ranking, query_groups: Sequence[str]
) -> Agreement | None:
    """Compares all sets of `size` clips that were trained on.

    Args:
        falls: by the set's clips, by how much of itself the loss of each held-out clip fell: [held-out clips].
        size: how many clips the sets have.
        ranking: with gradients.
        query_groups: motion of each held-out clip.

    Returns None where there are fewer than three sets.
    """
    sets = sorted(clips for clips in falls if len(clips) == size)
    if len(sets) < _FEWEST:
        return None
    assert ranking.gradients is not None
    lengths = np.array([np.linalg.norm(ranking.gradients[list(clips)].astype(np.float64).sum(0)) for clips in sets])
    summed, together = [], []
    for motion in sorted(set(query_groups)):
        measured = queries_of(query_groups, motion)[1]
        came = np.array([falls[clips][measured].mean() for clips in sets])
        predicted = np.array([ranking.scores[np.ix_(measured, clips)].mean(0).sum() for clips in sets])
        summed.append(spearman(predicted, came))
        together.append(spearman(predicted / lengths, came))
    return Agreement(len(sets), float(np.mean(summed)), float(np.mean(together)))
