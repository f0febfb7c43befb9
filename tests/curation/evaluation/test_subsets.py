"""Subsets are what their kinds say, and stay when there are more of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from motiontrace.curation.evaluation.counterfactual import (
    Ranking,
    Result,
    Selection,
    plan_selections,
    queries_of,
    worst_left_out,
)
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.curation.evaluation.lds import Block, chance, plan_subsets
from motiontrace.curation.evaluation.methods import OURS
from motiontrace.curation.evaluation.report import rows
from motiontrace.curation.evaluation.settings import EvaluationSettings
from motiontrace.curation.evaluation.subsets import Kind, Subset, random_halves, skewed, within

GROUPS = [name for name in ("bounce", "fall", "spin", "swing", "roll") for _ in range(12)]


def test_halves_are_half_of_the_clips_without_repetition() -> None:
    subsets = random_halves(GROUPS, 20, seed=0)
    assert all(len(set(subset.clips)) == len(subset.clips) == 30 for subset in subsets)
    times = np.bincount(np.concatenate([subset.clips for subset in subsets]), minlength=60)
    assert times.min() >= 3 and times.max() <= 17  # of 20: each clip is in about half


def test_skewed_subsets_are_one_size_and_mostly_of_a_few_motions() -> None:
    subsets = skewed(GROUPS, 20, seed=0)
    assert {len(subset.clips) for subset in subsets} == {15}
    two_largest = [sum(sorted(Counter(GROUPS[place] for place in subset.clips).values())[-2:]) for subset in subsets]
    assert np.mean(two_largest) > 0.6 * 15  # at random two of five motions have 0.4 to 0.5 of them


def test_subsets_within_a_motion_are_halves_of_it_and_share_the_count() -> None:
    subsets = within(GROUPS, ["fall", "spin"], 10, seed=0)
    assert Counter(subset.group for subset in subsets) == {"fall": 5, "spin": 5}
    for subset in subsets:
        assert len(subset.clips) == 6 and {GROUPS[place] for place in subset.clips} == {subset.group}


@pytest.mark.parametrize("draw", [random_halves, skewed, lambda groups, n, seed: within(groups, ["fall"], n, seed)])
def test_more_subsets_begin_with_the_same_ones_and_another_seed_gives_others(draw) -> None:
    assert draw(GROUPS, 12, 0)[:5] == draw(GROUPS, 5, 0)
    assert draw(GROUPS, 5, 1) != draw(GROUPS, 5, 0)


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(EvaluationError, match="16 clips"):
        plan_subsets(["fall"] * 8 + ["spin"] * 4, EvaluationSettings(), ["fall"])
    with pytest.raises(EvaluationError, match="4 or more"):
        plan_subsets(["fall"] * 20 + ["spin"] * 3, EvaluationSettings(), ["spin"])


def test_a_subset_is_predicted_by_the_sum_of_its_clips_mean_scores_for_the_querys_clips() -> None:
    scores = np.arange(12.0).reshape(3, 4)
    block = Block(["a", "b"], [Subset(Kind.RANDOM, (0, 3)), Subset(Kind.RANDOM, (1, 2, 3))], np.zeros((2, 2, 2)))
    found = block.predicted(scores, ["a", "b", "a"])
    assert found.tolist() == [[4 + 7, 5 + 6 + 7], [4 + 7, 5 + 6 + 7]]


def test_selections_choose_by_one_half_of_the_queries_and_leave_the_other_to_be_measured() -> None:
    queries = ["fall", "spin"] * 4
    chooses, measured = queries_of(queries, "fall")
    assert chooses == [0, 4] and measured == [2, 6]
    scores = np.zeros((8, 60))
    scores[[0, 4], 7], scores[[2, 6], 9] = 1.0, 1.0
    scores[[0, 4], 11], scores[[2, 6], 13] = -1.0, -1.0
    settings = EvaluationSettings(random_selections=2)
    selections = plan_selections({"ours": Ranking(scores)}, ("ours",), ["fall"], queries, settings)
    by_method = {(found.method, found.draw): set(found.clips) for found in selections}
    assert len(by_method["ours", 0]) == 6 and 7 in by_method["ours", 0]
    rest = by_method["without worst by ours", 0]
    assert len(rest) == 54 and 11 not in rest and 7 in rest
    assert by_method["everything", 0] == set(range(60))
    assert [len(by_method["random", draw]) for draw in (0, 1)] == [6, 6]
    assert by_method["without random", 1] == set(range(60)) - by_method["random", 1]


def test_the_best_tenth_is_held_against_choices_and_what_is_left_without_the_worst_against_leavings() -> None:
    falls = {"base": 0.0, OURS.name: 0.05, "random": 0.02, worst_left_out(OURS.name): 0.03, "without random": 0.04}
    results = [
        Result(Selection(method, motion, (), draw), fall + (0.03 if motion == "spin" and method == "random" else 0), {})
        for method, fall in falls.items()
        for motion in ("fall", "spin")
        for draw in range(2 if "random" in method else 1)
    ]
    found = {row.method: row for row in rows(results)}
    assert found["random"].won == 1 and found["random"].motions == 2  # 0.05 against 0.02 and 0.05
    assert found["without random"].won == 0
    assert found["base"].won is found[OURS.name].won is found[worst_left_out(OURS.name)].won is None
    assert found["random"].fall == pytest.approx(0.035) and found["random"].spread == pytest.approx(0)


@pytest.mark.parametrize("alike", [True, False])
def test_chance_reaches_farther_where_the_outcomes_of_queries_are_alike(alike: bool) -> None:
    # Of single clips predictions are independent: Spearman's correlation then has the variance 1 / (n - 1).
    names = [f"motion {number}" for number in range(9)]
    falls = np.random.default_rng(3).standard_normal((1, 1 if alike else 9, 50))
    subsets = [Subset(Kind.RANDOM, (clip,)) for clip in range(50)]
    block = Block(names, subsets, np.broadcast_to(falls, (1, 9, 50)))
    expected = 1.96 / np.sqrt(49 * (1 if alike else 9))
    assert chance([block], names, 50, seed=0) == pytest.approx(expected, rel=0.15)


def test_a_measure_has_a_spread_over_those_random_draws_that_have_it() -> None:
    found = [{}, {"gravity_error": 1.0}, {"gravity_error": 3.0}]  # in the first nothing flew
    results = [Result(Selection("random", "fall", (), draw), 0.0, of) for draw, of in enumerate(found)]
    (row,) = rows([*results, Result(Selection(OURS.name, "fall", ()), 0.0, {})])[:1]
    assert row.samples == {"gravity_error": 2.0}
    assert row.samples_spread == {"gravity_error": pytest.approx(np.sqrt(2))}


def test_the_best_tenth_by_gradients_is_chosen_together_and_that_by_scores_alone_one_by_one() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((60, 8))
    gradients[:10] = gradients[0] + 0.1 * rng.standard_normal((10, 8))  # all alike, and the best by themselves
    gradients = (gradients / np.linalg.norm(gradients, axis=1, keepdims=True)).astype(np.float32)
    asking = gradients[0] + 0.8 * rng.standard_normal((2, 8))
    scores = (asking / np.linalg.norm(asking, axis=1, keepdims=True)) @ gradients.T
    offsets = np.array([0.3, 0.1])  # as centring takes them off: of no matter to what a set asks for
    rankings = {
        "together": Ranking(scores, gradients),
        "together, centred": Ranking(scores - offsets[:, None], gradients, offsets),
        "one by one": Ranking(scores),
    }
    selections = plan_selections(rankings, (), ["fall"], ["fall", "fall"], EvaluationSettings(random_selections=2))
    chosen = {found.method: found.clips for found in selections}
    assert chosen["together, centred"] == chosen["together"]
    cosines = {}
    for found in selections:
        total = gradients[list(found.clips)].sum(0)
        cosines[found.method] = float(asking[0] @ total / np.linalg.norm(total))
    assert cosines["together"] > cosines["one by one"] + 0.02
