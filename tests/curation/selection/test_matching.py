"""Clips chosen together: each is the one that brings the set's gradient nearest to where the queries' point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.curation.selection.matching import ROUNDS, match
from tests.curation.selection.gradients import Held

DIM = 6


def cosine(gradients: Held, taken: np.ndarray, query: np.ndarray) -> float:
    total = gradients.rows[taken].sum(0)
    return float(total @ query / np.linalg.norm(total))


def matched(gradients: Held, query: np.ndarray, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    clips = len(gradients.rows)
    scores = (gradients.rows @ query).astype(np.float32)
    given_weights = np.ones(clips) if weights is None else weights
    return match(gradients, scores, given_weights, np.arange(clips), np.zeros(clips, np.bool_), count)


@given(st.integers(2, 30), st.data())
def test_every_clip_added_is_the_one_that_brings_the_set_nearest_to_the_queries(
    count: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    gradients, query = Held.drawn(rng, count, DIM), Held.drawn(rng, 1, DIM).rows[0]
    before = np.zeros(count, np.bool_)
    for size in range(1, count + 1):
        after = matched(gradients, query, size)
        [added] = np.flatnonzero(after & ~before)
        others = [np.isin(np.arange(count), [*np.flatnonzero(before), row]) for row in np.flatnonzero(~before)]
        best = max(cosine(gradients, other, query) for other in others)
        assert (before <= after).all() and after.sum() == size
        assert cosine(gradients, after, query) == pytest.approx(best, abs=1e-5), added
        before = after


@given(st.integers(1, 20), st.sampled_from([0.001, 0.1, 0.3, 0.5]), st.data())
def test_of_two_clips_alike_the_one_weighed_down_is_never_taken_without_the_other(
    pairs: int, light: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    half = Held.drawn(rng, pairs, DIM).rows
    weights = np.repeat([light, 1.0], pairs)
    taken = matched(
        Held(np.concatenate([half, half])), half[0] + 0.5 * half[-1], data.draw(st.integers(0, 2 * pairs)), weights
    )
    assert (taken[:pairs] <= taken[pairs:]).all()


def test_clips_that_are_weighed_down_are_taken_less_often_whatever_the_budget() -> None:
    rng = np.random.default_rng(1)
    gradients, query = Held.drawn(rng, 1000, 64), Held.drawn(rng, 1, 64).rows[0]
    light = rng.random(1000) < 0.3
    for count in (100, 300, 600):
        taken = matched(gradients, query, count, np.where(light, 0.5, 1.0))
        assert taken[light].mean() < 0.85 * taken[~light].mean()


def test_clips_that_are_all_alike_are_not_all_chosen_where_others_add_what_they_lack() -> None:
    query = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
    near = [[1.0, 0.35, 0.02 * place] for place in range(4)]  # the four best by themselves
    rows = np.array([*near, [0.25, 1.0, 0.0], [0.2, 1.0, 0.0], [0.0, 0.1, 1.0]])
    gradients = Held(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    taken = matched(gradients, query, 4)
    assert np.argsort(-(gradients.rows @ query))[:4].tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(taken).tolist() == [0, 1, 4, 5]
    assert cosine(gradients, taken, query) > 0.99 > cosine(gradients, np.arange(7) < 4, query) + 0.03


def test_of_equal_clips_the_first_are_taken() -> None:
    gradients = Held(np.tile([[1.0, 0.0]], (5, 1)))
    assert matched(gradients, np.array([1.0, 0.0]), 2).tolist() == [True, True, False, False, False]


def test_what_must_be_in_the_set_counts_and_the_rest_makes_up_for_it() -> None:
    gradients = Held(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.8, -0.6]]))
    scores = gradients.rows[:, 0].astype(np.float32)
    must = np.array([False, True, False, False])
    # With the second in it, the fourth straightens the sum; by itself the first would have been best.
    taken = match(gradients, scores, np.ones(4), np.arange(4), must, 2)
    assert taken.tolist() == [False, True, False, True]


def test_only_clips_that_are_left_are_taken_in_the_order_in_which_they_are_given() -> None:
    gradients = Held(np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]]))
    left = np.array([2, 1])
    scores = gradients.rows[:, 0].astype(np.float32)
    assert match(gradients, scores, np.ones(3), left, np.zeros(2, np.bool_), 1).tolist() == [True, False]


def test_large_sets_are_found_in_few_rounds_and_hardly_worse_than_one_by_one() -> None:
    rng = np.random.default_rng(0)
    gradients, query = Held.drawn(rng, 3000, 32), Held.drawn(rng, 1, 32).rows[0]
    asked = 0

    class Counted(Held):
        def products(self, vector: np.ndarray) -> np.ndarray:
            nonlocal asked
            asked += 1
            return super().products(vector)

    taken = matched(Counted(gradients.rows), query, 1000)
    assert taken.sum() == 1000 and asked <= ROUNDS
    small = matched(gradients, query, ROUNDS)
    votes = np.argsort(-(gradients.rows @ query))[:1000]
    assert cosine(gradients, taken, query) > cosine(gradients, np.isin(np.arange(3000), votes), query)
    assert cosine(gradients, taken, query) > cosine(gradients, small, query) - 0.05 > 0.9
