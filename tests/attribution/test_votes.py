import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from motiontrace.attribution.votes import votes


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
