"""Predictions of sets: their sums, and the sums over the length of the sets' gradients."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from motiontrace.curation.evaluation.counterfactual import Ranking
from motiontrace.curation.evaluation.sets import agreement

GROUPS = ["fall", "fall", "spin", "spin"]


@pytest.fixture
def ranking() -> Ranking:
    rng = np.random.default_rng(3)
    gradients, queries = rng.standard_normal((8, 3)), rng.standard_normal((4, 3))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    return Ranking(queries @ gradients.T, gradients.astype(np.float32))


def test_where_a_step_is_as_long_whatever_the_set_the_direction_of_its_gradient_predicts_it(ranking: Ranking) -> None:
    assert ranking.gradients is not None
    falls, sums = {}, {}
    for clips in combinations(range(8), 3):
        total = ranking.gradients[list(clips)].astype(np.float64).sum(0)
        sums[clips] = ranking.scores[:, list(clips)].sum(1)
        falls[clips] = sums[clips] / np.linalg.norm(total)
    falls[tuple(range(5))] = np.full(4, np.nan)  # of another size
    found = agreement(falls, 3, ranking, GROUPS)
    assert found is not None and found.sets == 56
    assert found.together == pytest.approx(1) and found.summed < 0.99
    plain = agreement(sums, 3, ranking, GROUPS)
    assert plain is not None and plain.summed == pytest.approx(1) and plain.together < 0.99


def test_clips_that_chose_are_not_asked(ranking: Ranking) -> None:
    falls = {clips: ranking.scores[:, list(clips)].sum(1) for clips in combinations(range(8), 2)}
    for found in falls.values():
        found[[0, 2]] = np.nan  # the first of each motion chooses
    found = agreement(falls, 2, ranking, GROUPS)
    assert found is not None and found.summed == pytest.approx(1)


def test_of_too_few_sets_nothing_is_said(ranking: Ranking) -> None:
    assert agreement({(0,): np.zeros(4), (1,): np.ones(4)}, 1, ranking, GROUPS) is None
