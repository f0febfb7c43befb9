"""Gradients held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Held:
    """What matching asks for, of an array."""

    rows: np.ndarray  # float64 [clips, dim], unit length

    @classmethod
    def drawn(cls, rng: np.random.Generator, count: int, dim: int = 5) -> Held:
        """At random."""
        values = rng.standard_normal((count, dim))
        return cls(values / np.linalg.norm(values, axis=1, keepdims=True))

    def products(self, vector: np.ndarray) -> np.ndarray:
        return (self.rows @ vector).astype(np.float32)

    def weighted_sum(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        total: np.ndarray = weights @ self.rows[rows]
        return total
