"""Matches among the first clips, against chance."""

from __future__ import annotations

import numpy as np
import pytest

from motiontrace.curation.evaluation.controls import same_group, same_group_first
from motiontrace.curation.evaluation.retrieval import TOP, matches


def test_a_perfect_ranking_finds_the_motion_and_no_more_looks_than_chance_has() -> None:
    rng = np.random.default_rng(0)
    train = {"motion": [f"m{i % 5}" for i in range(200)], "colour": rng.choice(["red", "blue"], 200).tolist()}
    queries = {"motion": ["m0", "m1", "m4"], "colour": ["red", "blue", "red"]}
    found = matches(same_group(train["motion"], queries["motion"]), train, queries)
    assert found["motion"].share == 1
    assert found["motion"].chance == pytest.approx(0.2)
    assert found["colour"].chance == pytest.approx(0.5, abs=0.1)


def test_a_known_group_comes_first_and_the_rest_is_drawn_for_each_query() -> None:
    train = ["a"] * 30 + ["b"] * 5 + ["c"] * 30
    found = np.argsort(-same_group_first(train, ["b", "b"], seed=0), axis=1)
    assert all(set(first) == set(range(30, 35)) for first in found[:, :5])
    rest = [set(row.tolist()) for row in found[:, 5:15]]
    assert rest[0] != rest[1] and all(max(row) > 34 and min(row) < 30 for row in rest)


def test_ties_go_to_the_earlier_clip() -> None:
    train = {"motion": ["a"] * TOP + ["b"] * TOP}
    assert matches(np.zeros((1, 2 * TOP)), train, {"motion": ["a"]})["motion"].share == 1
    assert matches(np.zeros((1, 2 * TOP)), train, {"motion": ["b"]})["motion"].share == 0
