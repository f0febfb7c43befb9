"""Vectors to test with."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Vectors = dict[str, NDArray[np.float32]]


def vector(clip_id: str, version: int = 0, dim: int = 32) -> NDArray[np.float32]:
    """The clip's vector: float32 [dim] of length 1, always the same for the same arguments."""
    seed = [version, *clip_id.encode()]
    drawn = np.random.default_rng(seed).standard_normal(dim)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def vectors(ids: Iterable[str], version: int = 0, dim: int = 32) -> Vectors:
    return {clip_id: vector(clip_id, version, dim) for clip_id in ids}
