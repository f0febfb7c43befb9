"""The subsets of the training clips that models are trained on, of three kinds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

CONCENTRATION = 0.5
"""Of the Dirichlet distribution of motions in a skewed subset: most of it is of a few motions."""
SKEWED_SHARE = 4  # a skewed subset is one clip in so many: of a half, every motion would be a good part


class Kind(StrEnum):
    """How a subset is drawn."""

    RANDOM = "random halves"
    SKEWED = "motion-skewed"
    WITHIN = "within one motion"


@dataclass(frozen=True)
class Subset:
    """Places of training clips, ascending; `group` is the one motion they are of, if they are."""

    kind: Kind
    clips: tuple[int, ...]
    group: str | None = None


def random_halves(groups: Sequence[str], count: int, seed: int) -> list[Subset]:
    """`count` halves of the clips, each drawn at random."""
    return [
        Subset(Kind.RANDOM, _drawn(_rng(seed, Kind.RANDOM, number), np.arange(len(groups)), len(groups) // 2))
        for number in range(count)
    ]


def skewed(groups: Sequence[str], count: int, seed: int) -> list[Subset]:
    """`count` quarters of the clips, each with its own share of every motion, drawn from a Dirichlet distribution."""
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    subsets = []
    for number in range(count):
        rng = _rng(seed, Kind.SKEWED, number)
        shares = rng.dirichlet(np.full(len(names), CONCENTRATION))
        # Exponential keys: the first so many by key / weight are a draw without replacement by weight.
        keys = rng.exponential(size=len(groups)) / np.maximum(shares[places], 1e-12)
        chosen = np.argsort(keys, kind="stable")[: len(groups) // SKEWED_SHARE]
        subsets.append(Subset(Kind.SKEWED, tuple(sorted(chosen.tolist()))))
    return subsets


def within(groups: Sequence[str], among: Sequence[str], count: int, seed: int) -> list[Subset]:
    """`count` subsets in all, spread over the motions `among`: each a random half of the clips of one motion."""
    members = np.asarray(groups)
    subsets = []
    for number in range(count):
        group = among[number % len(among)]
        places = np.flatnonzero(members == group)
        rng = _rng(seed, Kind.WITHIN, number)
        subsets.append(Subset(Kind.WITHIN, _drawn(rng, places, len(places) // 2), group))
    return subsets


def _rng(seed: int, kind: Kind, number: int) -> np.random.Generator:
    # A child for each subset: with more of them the first ones stay.
    return np.random.default_rng([seed, list(Kind).index(kind), number])


def _drawn(rng: np.random.Generator, places: np.ndarray, count: int) -> tuple[int, ...]:
    return tuple(sorted(rng.choice(places, count, replace=False).tolist()))
