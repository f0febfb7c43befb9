"""Which clip comes next."""

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.curation.finetuning.order import clip_order, draw_generator, step_seed

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=8)


def drawn(weights: list[float], count: int, seed: int = 0, first: int = 0) -> list[int]:
    return list(islice(clip_order(weights, seed, first), count))


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_equal_weights_see_every_clip_once_a_pass(count, seed, weight):
    order = drawn([weight] * count, 3 * count, seed)
    for start in range(0, 3 * count, count):
        assert sorted(order[start : start + count]) == list(range(count))


def test_passes_are_in_different_orders_and_another_seed_has_others():
    order = drawn([1.0] * 20, 40)
    assert order[:20] != order[20:]
    assert order[:20] != list(range(20))
    assert drawn([1.0] * 20, 40, seed=1) != order
    assert drawn([1.0] * 20, 40) == order


@given(WEIGHTS, st.integers(0, 1000))
def test_clips_are_drawn_in_proportion_to_their_weights(weights, seed):
    """Never more than a draw away from it for every pass begun: the rest is carried on, not left to chance."""
    passes = 40
    order = drawn(weights, passes * len(weights), seed)
    counts = Counter(order)
    for place, weight in enumerate(weights):
        expected = len(order) * weight / sum(weights)
        share = weight * len(weights) / sum(weights)
        # The end of the draws falls into a pass, of which any part may have come.
        assert abs(counts[place] - expected) <= 2 + 2 * share


def test_half_the_weight_is_half_as_often():
    counts = Counter(drawn([1.0, 0.5, 2.0], 3500))
    assert [counts[place] for place in range(3)] == pytest.approx([1000, 500, 2000], abs=2)


@given(WEIGHTS, st.integers(0, 60), st.integers(0, 1000))
def test_order_goes_on_from_any_draw(weights, first, seed):
    assert drawn(weights, 20, seed, first) == drawn(weights, 80, seed)[first : first + 20]


def test_every_draw_has_chance_of_its_own():
    numbers = {torch.randn(1, generator=draw_generator(seed, draw)).item() for seed in range(3) for draw in range(50)}
    assert len(numbers) == 150
    first, again = (torch.randn(4, generator=draw_generator(7, 8)) for _ in range(2))
    assert torch.equal(first, again)
    assert len({step_seed(seed, step, process) for seed in (0, 1) for step in (0, 1) for process in (0, 1)}) == 8
