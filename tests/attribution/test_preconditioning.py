import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.moments import Moments
from motiontrace.attribution.preconditioning import Preconditioner, precondition
from motiontrace.preconditions import MAX_DAMPING, MIN_DAMPING

DIM = 12


def unit(rng, count, dim=DIM, spread=1.0):
    """Unit gradients float32 [count, dim] around a common direction, the more alike the smaller `spread`."""
    scales = np.exp(-np.arange(dim) / 3)
    rows = rng.standard_normal((count, dim)) * scales * spread + scales[::-1]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def scores(gradients, found):
    return gradients.astype(np.float64) @ found.query.astype(np.float64) - found.offset


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 200))
@settings(max_examples=30)
def test_moments_are_the_exact_sums_of_the_rounded_gradients(seed, count):
    gradients = unit(np.random.default_rng(seed), count).astype(np.float16)
    whole = [[round(float(value) * 2**16) for value in row] for row in gradients]  # Python's own, unbounded integers
    moments = Moments.of(gradients)
    assert moments.count == count
    assert moments.first.tolist() == [sum(row[i] for row in whole) for i in range(DIM)]
    assert moments.second.tolist() == [[sum(row[i] * row[j] for row in whole) for j in range(DIM)] for i in range(DIM)]
    np.testing.assert_allclose(moments.mean, gradients.astype(np.float64).mean(axis=0), atol=2**-17)
    wanted = gradients.astype(np.float64).T @ gradients.astype(np.float64) / count
    np.testing.assert_allclose(moments.second_moment, wanted, atol=2**-15)


@given(seeds, st.integers(2, 300), st.data())
@settings(max_examples=30)
def test_moments_do_not_depend_on_order_or_parts(seed, count, data):
    gradients = unit(np.random.default_rng(seed), count)
    at = data.draw(st.integers(1, count - 1))
    whole, shuffled = Moments.of(gradients), Moments.of(np.random.default_rng(1).permutation(gradients))
    first, second = Moments.of(gradients[:at]), Moments.of(gradients[at:])
    assert whole.digest == shuffled.digest == (first + second).digest == (second + Moments.none(DIM) + first).digest
    assert (whole - second).digest == first.digest != whole.digest
    assert (whole - second).mean.tobytes() == first.mean.tobytes()
    assert (whole - second).second_moment.tobytes() == first.second_moment.tobytes()


def test_more_gradients_than_a_block_are_all_counted():
    one = unit(np.random.default_rng(0), 1, 4)
    moments = Moments.of(np.repeat(one, 20_000, axis=0))
    single = Moments.of(one)
    assert (moments.first == 20_000 * single.first).all()
    assert (moments.second == 20_000 * single.second).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3.0])
def test_a_gradient_that_is_none_is_refused(wrong):
    gradients = unit(np.random.default_rng(0), 5)
    gradients[3, 2] = wrong
    with pytest.raises(ValueError, match="entry beyond 2, or one that is not finite"):
        Moments.of(gradients)


@given(seeds, st.integers(1, 100), st.floats(MIN_DAMPING, 1e3))
@settings(max_examples=50)
def test_whitening_is_the_damped_inverse_of_the_second_moment(seed, count, damping):
    rng = np.random.default_rng(seed)
    gradients, query = unit(rng, count), unit(rng, 1, spread=2)[0]
    moments = Moments.of(gradients)
    found = precondition(query, moments.mean, moments.second_moment, "whiten", damping)
    moment = moments.second_moment
    wanted = np.linalg.solve(moment + damping * np.trace(moment) / DIM * np.eye(DIM), query.astype(np.float64))
    np.testing.assert_allclose(found.query, wanted / np.linalg.norm(wanted), atol=1e-6)
    assert found.query.dtype == np.float32
    assert found.offset == 0


@given(seeds)
@settings(max_examples=30)
def test_whitening_with_much_damping_ranks_as_the_query_itself(seed):
    rng = np.random.default_rng(seed)
    gradients, query = unit(rng, 50), unit(rng, 1)[0]
    moments = Moments.of(gradients)
    found = precondition(query, moments.mean, moments.second_moment, "whiten", MAX_DAMPING)
    np.testing.assert_allclose(scores(gradients, found), gradients @ query, atol=1e-5)


@pytest.mark.parametrize("count", [20, 60, 400])
def test_the_least_damping_still_ranks_few_clips_by_their_gradients(count):
    """Of far fewer than dim clips nearly all of the whitened query lies where none of them is."""
    rng = np.random.default_rng(0)
    gradients = unit(rng, count, 512, spread=3).astype(np.float16)
    query = unit(rng, 1, 512, spread=3)[0]
    moments = Moments.of(gradients)
    found = precondition(query, moments.mean, moments.second_moment, "whiten", MIN_DAMPING)
    exact = gradients.astype(np.float64)
    moment = exact.T @ exact / count
    wanted = exact @ np.linalg.solve(moment + MIN_DAMPING * np.trace(moment) / 512 * np.eye(512), query.astype(float))
    read = gradients.astype(np.float32) @ found.query  # as searches do
    assert np.corrcoef(read, wanted)[0, 1] > 0.95


def test_whitening_shrinks_what_all_clips_share():
    rng = np.random.default_rng(0)
    gradients = unit(rng, 400, spread=0.3)
    query = gradients[7]
    moments = Moments.of(gradients)
    shares = [
        abs(precondition(query, moments.mean, moments.second_moment, "whiten", damping).query @ moments.mean)
        for damping in (100.0, 1.0, 0.01)
    ]
    assert abs(query @ moments.mean) > shares[0] > shares[1] > shares[2]


@given(seeds, st.integers(2, 200))
@settings(max_examples=30)
def test_centred_scores_have_mean_zero_and_are_those_of_centred_gradients(seed, count):
    rng = np.random.default_rng(seed)
    gradients, query = unit(rng, count), unit(rng, 1, spread=3)[0]
    moments = Moments.of(gradients)
    found = precondition(query, moments.mean, moments.second_moment, "centre")
    assert np.linalg.norm(found.query) == pytest.approx(1)
    assert scores(gradients, found).mean() == pytest.approx(0, abs=1e-5)
    mean = gradients.astype(np.float64).mean(axis=0)
    rest = query - mean
    wanted = (gradients - mean) @ (rest / np.linalg.norm(rest))
    np.testing.assert_allclose(scores(gradients, found), wanted, atol=2e-4)


def test_a_query_that_is_the_mean_has_nothing_left_when_centred():
    gradients = unit(np.random.default_rng(0), 1)
    moments = Moments.of(gradients.astype(np.float16))
    found = precondition(gradients[0], moments.mean, moments.second_moment, "centre")
    assert not found.query.any()
    assert found.offset == 0


@given(seeds, st.sampled_from(["none", "centre", "whiten"]))
@settings(max_examples=30)
def test_a_rotation_of_the_space_rotates_the_answer(seed, kind):
    rng = np.random.default_rng(seed)
    gradients, query = unit(rng, 60), unit(rng, 1, spread=3)[0]
    rotation, _ = np.linalg.qr(rng.standard_normal((DIM, DIM)))
    moments = Moments.of(gradients)
    mean, moment = moments.mean, moments.second_moment
    plain = precondition(query, mean, moment, kind, 0.1)
    turned = precondition(
        (rotation @ query).astype(np.float32), rotation @ mean, rotation @ moment @ rotation.T, kind, 0.1
    )
    np.testing.assert_allclose(turned.query, rotation @ plain.query, atol=1e-5)
    np.testing.assert_allclose(turned.offset, plain.offset, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "centre", "whiten"])
def test_many_queries_get_the_bits_that_each_gets_alone(kind):
    rng = np.random.default_rng(3)
    moments = Moments.of(unit(rng, 100))
    queries = unit(rng, 5, spread=3)
    preconditioner = Preconditioner.of(moments.mean, moments.second_moment, kind, 0.5)
    many = preconditioner.apply(queries)
    assert many.query.shape == (5, DIM)
    assert many.offset.shape == (5,)
    for number, query in enumerate(queries):
        alone = precondition(query, moments.mean, moments.second_moment, kind, 0.5)
        assert alone.query.tobytes() == many.query[number].tobytes()
        assert alone.offset == many.offset[number]
    assert preconditioner.apply(queries[:0]).query.shape == (0, DIM)


@pytest.mark.parametrize("kind", ["none", "centre", "whiten"])
def test_without_clips_the_query_stays_as_it_is(kind):
    query = unit(np.random.default_rng(0), 1)[0]
    empty = Moments.none(DIM)
    found = precondition(query, empty.mean, empty.second_moment, kind)
    np.testing.assert_allclose(found.query, query, atol=1e-7)
    assert found.offset == 0


@pytest.mark.parametrize(("kind", "digest"), [("centre", "2477d9e218c81932"), ("whiten", "b9d5585465f67cae")])
def test_the_bits_are_those_of_every_other_machine(kind, digest):
    numbers = np.arange(700 * 64, dtype=np.int64)
    rows = ((numbers * 48271 % 65537 * 16807 % 8191 - 4095) / 16384).astype(np.float32).reshape(700, 64)
    moments = Moments.of(rows)
    found = precondition(rows[:3], moments.mean, moments.second_moment, kind, 0.1)
    assert hashlib.sha256(found.query.astype("<f4").tobytes() + found.offset.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("damping", [0.0, -1.0, 1e-4, 1e7, float("nan")])
def test_a_damping_out_of_range_is_refused(damping):
    with pytest.raises(ValueError, match="damping must be in"):
        precondition(np.ones(DIM, np.float32), np.zeros(DIM), np.eye(DIM), "whiten", damping)
