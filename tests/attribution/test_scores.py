import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from motiontrace.attribution.scores import extremes, influence, votes


def test_influence_is_the_inner_product_of_unit_gradients():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((7, 5)).astype(np.float32)
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    assert influence(gradients, gradients[3]).shape == (7,)
    assert influence(gradients, gradients[3])[3] == pytest.approx(1)
    both = influence(gradients, gradients[:2])
    assert both.shape == (2, 7)
    assert both[1, 4] == pytest.approx(float(gradients[1] @ gradients[4]), abs=1e-6)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.integers(1, 40))
def test_both_ends_are_sorted_and_ties_go_to_the_earlier(values, k):
    top, bottom = extremes(np.array(values, np.float32), k)
    assert top.tolist() == sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert bottom.tolist() == sorted(range(len(values)), key=lambda i: (values[i], i))[:k]


def test_each_query_votes_for_what_is_above_its_own_cut():
    scores = np.array([[1, 2, 3, 4, 5], [50, 40, 30, 20, 10], [7, 7, 7, 7, 7]], np.float32)
    assert votes(scores, 60).tolist() == [1, 1, 0, 1, 1]  # where all are equal nobody is above
    assert votes(scores, 0).sum() == 8
    with pytest.raises(ValueError, match="percentile"):
        votes(scores, 100)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.floats(-1, 1, width=32) | st.sampled_from([0.0, 0.1, 0.5]),
    ),
    st.floats(0, 100, exclude_max=True) | st.sampled_from([50.0, 90.0, 95.0]),
)
def test_the_cut_is_numpys_percentile(scores, percentile):
    cut = np.percentile(scores, percentile, axis=1, keepdims=True)
    assert votes(scores, percentile).tolist() == (scores > cut).sum(axis=0).tolist()


def test_without_clips_nobody_votes():
    assert votes(np.empty((3, 0), np.float32), 90).tolist() == []
