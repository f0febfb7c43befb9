"""Clips chosen together: those whose summed gradient points most nearly where the queries' gradients point.

One by one, the best clips are often all alike, and training on more of the same moves a model no further: optimizers
such as Adam scale a step by the size of the gradients, so it is the direction of a set's summed gradient that counts.
The set S is sought that makes the largest

    (sum over S of s_i) / | sum over S of g_i |

with s_i a clip's mean score for the queries and g_i its gradient: without preconditioning, a constant times the cosine
of the set's gradient with the queries'. The length is that of the gradients as they are, however scores are
preconditioned: it is what the optimizer sees. This is gradient matching (Killamsetty et al., GRAD-MATCH, 2021) with
the cosine in place of the distance; as there, clips are added greedily.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

ROUNDS = 64
"""Rounds at most, in each of which every clip is scored once: of large sets many clips are added at a time."""
_TINY = 1e-12
_WEIGHT_STEP = 2.0**-8


class Gradients(Protocol):
    """The gradients of N clips, float [N, dim], each of unit length."""

    def products(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of all clips' gradients with a vector [dim]: [N]."""
        ...

    def weighted_sum(self, rows: Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of the gradients of some rows times their weights [rows]: [dim]."""
        ...


def match(
    gradients: Gradients,
    scores: NDArray[np.float32],
    weights: NDArray[np.float64],
    left: Rows,
    taken: NDArray[np.bool_],
    count: int,
) -> NDArray[np.bool_]:
    """Adds rows to a set until it has `count`.

    Args:
        gradients: of all N clips.
        scores: [N], the mean over the queries of a clip's inner product with what the query asks for.
        weights: [N], in (0, 1]: of a clip's score and gradient in the set's sums. A clip's gain counts the less, and
            its cost the more, the lower its weight: of equal clips the heavier is taken.
        left: [n], the clips to choose from; of equal ones the first is taken.
        taken: [n], which of them are in the set whatever they do for it.
        count: how many of them are wanted, at most n.

    Returns:
        bool [n]: which are in the set.
    """
    taken = taken.copy()
    score = scores[left].astype(np.float64)
    # Sums of half floats by such weights are exact, so they do not depend on the order of the vectors.
    weight = np.maximum(np.round(weights[left] / _WEIGHT_STEP), 1) * _WEIGHT_STEP
    total, reached = gradients.weighted_sum(left[taken], weight[taken]), float((weight * score)[taken].sum())
    at_once = max(1, -(-(count - int(taken.sum())) // ROUNDS))
    while (missing := count - int(taken.sum())) > 0:
        along = gradients.products(total.astype(np.float32))[left].astype(np.float64)
        square = float(total @ total)
        gain = (reached + score) / np.sqrt(np.maximum(square + 2 * along + 1, _TINY))
        gain -= reached / np.sqrt(max(square, _TINY))
        gain = np.where(gain > 0, gain * weight, gain / weight)
        added = _largest(np.where(taken, -np.inf, gain), min(at_once, missing))
        taken[added] = True
        total += gradients.weighted_sum(left[added], weight[added])
        reached += float((weight * score)[added].sum())
    return taken


def _largest(values: NDArray[np.float64], count: int) -> Rows:
    """The places of the largest; of equal ones the first."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.concatenate([above, equal[: count - len(above)]])
