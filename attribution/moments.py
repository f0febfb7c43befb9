"""The mean and the second moment of gradients, summed exactly.

Gradients are rounded to multiples of 2^-16 (half floats from 0.016 on are such multiples) and summed as whole numbers.
So the sums depend on the set of gradients alone, and not on order, blocks, files, threads, BLAS or machine. A gradient
that was added can be subtracted again exactly.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FRACTION_BITS = 16
_SCALE = 1 << FRACTION_BITS
_ROWS_AT_ONCE = 8192  # their products sum up to less than 2^53, so float64 adds them exactly, in any order
_LONGEST = 2.0


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over a set of gradients; `+` joins two sets that have no gradient in common.

    Attributes:
        count: how many gradients, below 2^30.
        first: int64 [dim], their sum, in units of 2^-16.
        second: int64 [dim, dim], the sum of their outer products, in units of 2^-32.
    """

    count: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @classmethod
    def none(cls, dim: int) -> Self:
        """The sums of the empty set."""
        return cls(0, np.zeros(dim, np.int64), np.zeros((dim, dim), np.int64))

    @classmethod
    def of(cls, gradients: NDArray[np.floating[Any]]) -> Self:
        """The sums of gradients [count, dim], no entry beyond 2 (they have unit length).

        Raises:
            ValueError: an entry is larger, or not finite.
        """
        total = cls.none(gradients.shape[1])
        for block in _blocks(gradients):
            # Written so that NaN is refused too.
            if not np.abs(block).max() <= _LONGEST * _SCALE:
                raise ValueError(f"A gradient has an entry beyond {_LONGEST:g}, or one that is not finite.")
            products = block.T @ block  # whole numbers below 2^53: exact whatever the BLAS
            total = cls(
                total.count + len(block),
                total.first + block.sum(axis=0).astype(np.int64),
                total.second + products.astype(np.int64),
            )
        return total

    def __add__(self, other: Moments) -> Moments:
        """The sums of both sets together."""
        return Moments(self.count + other.count, self.first + other.first, self.second + other.second)

    def __sub__(self, other: Moments) -> Moments:
        """The sums of this set without `other`, which is a part of it."""
        return Moments(self.count - other.count, self.first - other.first, self.second - other.second)

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean gradient, [dim]; zeros for the empty set."""
        return self.first / (float(_SCALE) * max(1, self.count))

    @property
    def second_moment(self) -> NDArray[np.float64]:
        """G^T G / N, [dim, dim], of the gradients G [N, dim]; zeros for the empty set."""
        return self.second / (float(_SCALE) ** 2 * max(1, self.count))

    @property
    def digest(self) -> str:
        """SHA-256 of the sums in hexadecimal: equal sets have equal digests."""
        digest = hashlib.sha256(np.array([self.count, len(self.first)], dtype="<i8").tobytes())
        for part in (self.first, self.second):
            digest.update(np.ascontiguousarray(part, dtype="<i8").data)
        return digest.hexdigest()


def _blocks(gradients: NDArray[np.floating[Any]]) -> Iterator[NDArray[np.float64]]:
    """Whole numbers as float64 [rows, dim], in units of 2^-16."""
    import torch  # its import takes seconds, and most readers of an index sum nothing

    for start in range(0, len(gradients), _ROWS_AT_ONCE):
        rows = np.array(gradients[start : start + _ROWS_AT_ONCE])  # a copy, since torch takes no read-only arrays
        # torch converts half floats 15 times as fast as numpy does; both round halves to even.
        yield torch.from_numpy(rows).double().mul_(_SCALE).round_().numpy()
