"""Preconditioning: removes from a query what all clips of an index have in common (docs/method.md#preconditioning).

Only the query changes; stored gradients stay. A clip's score is <g_n, q'> - offset, with q' of unit length.

    centre   q' = (q - mu) / |q - mu|,  offset = <mu, q'>: the scores of all clips have mean 0
    whiten   q' = (G^T G / N + lambda I)^-1 q, scaled to unit length, as TRAK does (arXiv 2303.14186); offset = 0

lambda is `damping` times the mean eigenvalue of G^T G / N, so damping has no unit. Towards 0 every direction counts by
how rare it is; towards infinity the query stays as it is. All sums are made in a fixed order, by operations that IEEE
754 rounds in one way. So q' has the same bits on every machine, with any number of threads; LAPACK's would not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from motiontrace.preconditions import DAMPING, MAX_DAMPING, MIN_DAMPING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motiontrace.preconditions import Precondition

NOTHING_LEFT = 1e-3  # a query closer to the mean than this equals it within half-float precision


class Preconditioned(NamedTuple):
    """A preconditioned query; a clip's score is <g_n, query> - offset.

    Attributes:
        query: float32 [dim] or [queries, dim], unit length; zeros where the query equals the mean.
        offset: float64, 0-dimensional or [queries]; the mean clip's score where queries are centred, else 0.
    """

    query: NDArray[np.float32]
    offset: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """Preconditions any number of queries by the same statistics; safe to share between threads.

    Attributes:
        kind: centre or whiten.
        mean: float64 [dim].
        root: float64 [dim, dim], K with K^T K = (G^T G / N + lambda I)^-1; None unless queries are whitened.
    """

    kind: Precondition
    mean: NDArray[np.float64]
    root: NDArray[np.float64] | None

    @classmethod
    def of(
        cls, mean: NDArray[np.float64], moment: NDArray[np.float64], kind: Precondition, damping: float = DAMPING
    ) -> Self:
        """Make a preconditioner. Whitening takes a few tenths of a second for 512 dimensions.

        Args:
            mean: [dim], of the clips' gradients (`Moments.mean`).
            moment: [dim, dim], G^T G / N (`Moments.second_moment`); of no clip at all, zeros.
            kind: centre or whiten.
            damping: lambda as a multiple of the mean eigenvalue, 1e-3 to 1e6; only for whitening.

        Raises:
            ValueError: damping is out of its range.
        """
        if kind != "whiten":
            return cls(kind, mean, None)
        if not MIN_DAMPING <= damping <= MAX_DAMPING:
            raise ValueError(f"damping must be in [{MIN_DAMPING:g}, {MAX_DAMPING:g}], not {damping}")
        scale = math.fsum(np.diagonal(moment).tolist()) / len(moment)
        damped = moment + np.eye(len(moment)) * (damping * (scale or 1.0))
        return cls(kind, mean, _inverse(_cholesky(damped)))

    def apply(self, query: NDArray[np.float32]) -> Preconditioned:
        """Precondition a query [dim], or each of [queries, dim]."""
        if query.ndim == 1:
            return self._one(query)
        each = [self._one(row) for row in query]
        vectors = np.array([one.query for one in each], np.float32).reshape(query.shape)
        return Preconditioned(vectors, np.array([one.offset for one in each], np.float64))

    def _one(self, query: NDArray[np.float32]) -> Preconditioned:
        zero = np.array(0.0)
        if self.kind == "none":
            return Preconditioned(query, zero)
        if self.kind == "whiten":
            assert self.root is not None
            inner = _product(self.root.T, query.astype(np.float64))
            return Preconditioned(_unit(_product(self.root, inner)), zero)
        rest = query.astype(np.float64) - self.mean
        if _length(rest) < NOTHING_LEFT:
            return Preconditioned(np.zeros_like(query), zero)
        unit = _unit(rest)
        return Preconditioned(unit, np.array(math.fsum((self.mean * unit.astype(np.float64)).tolist())))


def precondition(
    query: NDArray[np.float32],
    mean: NDArray[np.float64],
    moment: NDArray[np.float64],
    kind: Precondition,
    damping: float = DAMPING,
) -> Preconditioned:
    """Precondition a query [dim] or queries [queries, dim]; arguments and errors as `Preconditioner.of`."""
    return Preconditioner.of(mean, moment, kind, damping).apply(query)


def _cholesky(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower triangle L with L L^T = matrix, positive definite; each step is elementwise."""
    lower = matrix.copy()
    for k in range(len(lower)):
        lower[k, k] = np.sqrt(lower[k, k])
        lower[k + 1 :, k] /= lower[k, k]
        column = lower[k + 1 :, k].copy()
        lower[k + 1 :, k + 1 :] -= column[:, None] * column
    return np.tril(lower)


def _inverse(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a lower triangle; each step is elementwise."""
    inverse = np.eye(len(lower))
    for k in range(len(lower)):
        inverse[k, : k + 1] /= lower[k, k]
        inverse[k + 1 :, : k + 1] -= lower[k + 1 :, k, None] * inverse[k, : k + 1]
    return inverse


def _product(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """matrix^T vector, summed row by row in order."""
    total = np.zeros(matrix.shape[1])
    for row in np.ascontiguousarray(matrix) * vector[:, None]:
        total += row
    return total


def _length(vector: NDArray[np.float64]) -> float:
    return math.sqrt(math.fsum((vector * vector).tolist()))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    """The vector with unit length; zeros stay zeros."""
    unit: NDArray[np.float32] = (vector / (_length(vector) or 1.0)).astype(np.float32)
    return unit
