"""Paired differences and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation.comparison.differences import paired_difference


@settings(max_examples=10)
@given(base=arrays(np.float64, (3, 2), elements=st.floats(-5, 5)), shift=st.floats(-2, 2))
def test_the_same_shift_of_every_pair_is_certain(base, shift):
    found = paired_difference(base, base + shift)
    assert (found.difference, found.low, found.high) == pytest.approx((shift, shift, shift), abs=1e-9)
    assert found.pairs == 6


@settings(max_examples=10)
@given(tuned=arrays(np.float64, (4, 3), elements=st.floats(-5, 5)))
def test_the_interval_holds_the_mean_and_turns_with_the_sign(tuned):
    base = np.zeros_like(tuned)
    found, turned = paired_difference(base, tuned), paired_difference(tuned, base)
    assert found.low - 1e-9 <= found.difference <= found.high + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_pairs_without_both_values_are_left_out():
    base = np.array([[1.0, np.nan], [3.0, 4.0]])
    tuned = np.array([[2.0, 5.0], [np.nan, 7.0]])
    found = paired_difference(base, tuned)
    assert (found.base, found.tuned, found.difference, found.pairs) == (2.5, 4.5, 2.0, 2)
    assert found.low is None


def test_nothing_to_compare_has_no_difference():
    nothing = np.full((2, 2), np.nan)
    assert paired_difference(nothing, nothing).difference is None


def test_videos_of_one_prompt_are_not_counted_as_independent():
    by_prompt = np.repeat(np.random.default_rng(0).normal(size=(8, 1)), 10, axis=1)
    scattered = np.random.default_rng(1).permutation(by_prompt.ravel()).reshape(8, 10)
    wide, narrow = (paired_difference(np.zeros((8, 10)), each) for each in (by_prompt, scattered))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
