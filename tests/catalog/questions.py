"""Stores and what is asked of them, drawn so that many scores tie."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from motiontrace.catalog.vectors import Searcher
from tests.catalog.stores import DIGEST, fill
from tests.catalog.vectors import Vectors


@dataclass(frozen=True)
class Question:
    batches: list[Vectors]  # published one after the other; few directions
    queries: np.ndarray  # float32 [1 to 3, dim]
    count: int
    within: set[str] | None

    def searcher(self, directory: Path) -> Searcher:
        return Searcher.open(fill(directory, *self.batches, dim=self.queries.shape[1]), DIGEST)

    @property
    def subset(self) -> Vectors:
        """The vectors that are ranked."""
        stored: Vectors = {}
        for batch in self.batches:
            stored |= batch
        return {clip_id: value for clip_id, value in stored.items() if self.within is None or clip_id in self.within}


@st.composite
def questions(draw: st.DrawFn) -> Question:
    dim = draw(st.sampled_from([1, 7, 16, 24]))
    ids = [f"clip {number}" for number in range(40)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    directions = rng.standard_normal((draw(st.integers(1, 12)), dim))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    batches = [
        {clip_id: directions[rng.integers(len(directions))] for clip_id in batch}
        for batch in draw(st.lists(st.sets(st.sampled_from(ids), min_size=1), min_size=1, max_size=4))
    ]
    queries = rng.standard_normal((draw(st.integers(1, 3)), dim)).astype(np.float32)
    queries *= np.float32(draw(st.sampled_from([0, 1e-3, 1, 50])))
    within = draw(st.none() | st.sets(st.sampled_from([*ids, "unknown"])))
    return Question(batches, queries, draw(st.integers(1, 50)), within)
