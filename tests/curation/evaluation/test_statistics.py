"""LDS, its interval and its ceiling are what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from motiontrace.curation.evaluation.statistics import ceiling, correlation, datamodelling_score, reliability, spearman


@given(st.integers(3, 30), st.integers(0, 2**32 - 1))
def test_spearman_is_scipys_row_by_row(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, (3, count)).astype(float), rng.standard_normal((3, count))
    expected = [0.0 if np.ptp(x) == 0 else stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert spearman(a, b) == pytest.approx(expected)


@given(st.floats(1e-9, 1e9), st.floats(-1e3, 1e3))
def test_correlation_does_not_depend_on_how_large_numbers_are(scale: float, shift: float) -> None:
    a, b = np.random.default_rng(7).standard_normal((2, 32))
    assert correlation(scale * (a + shift), b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(np.full(32, scale), b) == 0


def test_a_prediction_in_the_right_order_scores_one_and_in_the_reverse_minus_one() -> None:
    outcomes = [np.random.default_rng(0).standard_normal((4, 12))]
    right = datamodelling_score([np.exp(outcomes[0])], outcomes).interval()
    wrong = datamodelling_score([-outcomes[0]], outcomes).interval()
    assert (right.value, right.low, right.high) == pytest.approx((1, 1, 1))
    assert (wrong.value, wrong.low, wrong.high) == pytest.approx((-1, -1, -1))


def test_the_score_is_the_mean_over_the_queries_of_all_blocks() -> None:
    rng = np.random.default_rng(1)
    outcomes = [rng.standard_normal((3, 10)), rng.standard_normal((1, 6))]
    predictions = [outcomes[0].copy(), -outcomes[1]]
    assert datamodelling_score(predictions, outcomes).value == pytest.approx((3 - 1) / 4)


def test_the_interval_of_a_lead_is_paired_and_holds_the_difference_of_the_scores() -> None:
    rng = np.random.default_rng(2)
    outcomes = [rng.standard_normal((10, 32))]
    ours, theirs = [outcomes[0] + rng.standard_normal((10, 32))], [rng.standard_normal((10, 32))]
    scores = [datamodelling_score(each, outcomes) for each in (ours, theirs)]
    lead = (scores[0] - scores[1]).interval()
    assert lead.value == scores[0].value - scores[1].value
    assert 0 < lead.low < lead.value < lead.high
    nothing = (scores[0] - datamodelling_score(ours, outcomes)).interval()
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_draws_take_whole_queries_and_whole_subsets() -> None:
    """Each draw is a score of rows and columns that are there: here every row is predicted perfectly or reversed."""
    outcomes = [np.random.default_rng(6).standard_normal((2, 9))]
    found = datamodelling_score([outcomes[0] * [[1], [-1]]], outcomes)
    assert found.value == pytest.approx(0)
    assert set(np.round(found.draws, 9)) == {-1, 0, 1}


def test_noise_predicts_nothing_and_its_interval_says_so() -> None:
    rng = np.random.default_rng(3)
    found = datamodelling_score([rng.standard_normal((10, 32))], [rng.standard_normal((10, 32))]).interval()
    assert found.low < 0 < found.high


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_the_ceiling_is_what_the_truth_itself_correlates_with_the_mean_of_repeats(noise: float) -> None:
    rng = np.random.default_rng(4)
    truth = rng.standard_normal((200, 64))
    repeats = truth + noise * rng.standard_normal((3, 200, 64))
    reached = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(truth, repeats.mean(0), strict=True)])
    assert ceiling([repeats]) == pytest.approx(reached, abs=0.02)


def test_outcomes_that_contradict_each_other_have_no_reliability_and_one_repeat_is_refused() -> None:
    once = np.random.default_rng(5).standard_normal((4, 16))
    assert reliability([np.stack([once, -once])]) == 0
    assert reliability([np.stack([once, once])]) == pytest.approx(1)
    with pytest.raises(ValueError, match="two repeats"):
        reliability([once[None]])
