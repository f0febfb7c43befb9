"""Whether the first clips of a ranking move like the query, or only look like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

TOP = 10


@dataclass(frozen=True)
class Match:
    """How often the first `TOP` clips share a field's value with the query, the mean over queries."""

    share: float
    chance: float
    """The same of clips in random order."""


def matches(
    scores: NDArray[np.float64], train: Mapping[str, Sequence[str]], queries: Mapping[str, Sequence[str]]
) -> dict[str, Match]:
    """A match for each field of `train` and `queries`, which hold its value for each of N clips and Q queries.

    `scores` [Q, N]; ties go to the earlier clip.
    """
    first = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    found = {}
    for name, values in train.items():
        same = np.asarray(queries[name])[:, None] == np.asarray(values)[None, :]
        found[name] = Match(float(np.take_along_axis(same, first, axis=1).mean()), float(same.mean()))
    return found
