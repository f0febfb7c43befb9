"""Where chance lies among scores: unrelated clips stay within it, and clips that fight a motion do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from motiontrace.attribution.chance import ALIKE, LEAST_CLIPS, RATE, _quantile, chance_of, stands_out
from motiontrace.attribution.preconditioning import Preconditioner

DIM = 64


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def index_of(clips: int, rng: np.random.Generator, shared: float = 0.0):
    """Unit gradients, some directions far more frequent than others, with a part that all have in common."""
    spectrum = np.exp(-np.arange(DIM) / 20)
    vectors = rng.normal(size=(clips, DIM)) * spectrum
    return unit(vectors / np.linalg.norm(spectrum) + shared * unit(rng.normal(size=DIM)))


@pytest.mark.parametrize("clips", [LEAST_CLIPS, 47, 300])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_unrelated_queries_find_clips_that_fight_no_more_often_than_the_rate(clips, shared):
    rng = np.random.default_rng(0)
    runs, fought, taught = 400, 0, 0
    for _ in range(runs):
        found = chance_of(index_of(clips, rng, shared) @ unit(rng.normal(size=DIM)), DIM)
        fought, taught = fought + (found.fights > 0), taught + (found.teaches > 0)
    assert max(fought, taught) / runs <= RATE + 3 * np.sqrt(RATE / runs)


@pytest.mark.parametrize(
    "tails", [lambda rng, size: rng.standard_t(4, size), lambda rng, size: rng.gamma(1, size=size) - 1]
)
@pytest.mark.parametrize("clips", [47, 300])
def test_heavy_and_one_sided_tails_are_held_to_the_rate(clips, tails):
    rng = np.random.default_rng(8)
    spectrum, runs, fought = np.exp(-np.arange(DIM) / 4), 300, 0
    for _ in range(runs):
        gradients = unit(tails(rng, (clips, DIM)) * spectrum)
        query = unit(gradients[0] * rng.choice([-1, 1], DIM))  # as large in every direction as a clip, and like none
        fought += chance_of(gradients @ query, DIM).fights > 0
    assert fought / runs <= RATE + 3 * np.sqrt(RATE / runs)


def test_a_query_whose_numbers_are_shuffled_finds_nothing_that_fights():
    rng = np.random.default_rng(1)
    gradients = index_of(200, rng)
    fought = [chance_of(gradients @ rng.permutation(each), DIM).fights > 0 for each in gradients]
    assert np.mean(fought) <= RATE + 3 * np.sqrt(RATE / len(fought))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("clips", [50, 400])
def test_clips_of_the_opposite_motion_fight_it_and_others_do_not(clips, share):
    rng = np.random.default_rng(2)
    gradients = index_of(clips, rng)
    query, opposite = unit(rng.normal(size=DIM)), np.arange(clips) < share * clips
    gradients[opposite] = unit(gradients[opposite] - 2 * query)
    scores = gradients @ query
    found = chance_of(scores, DIM)
    assert [stands_out(score, found.low, found.high) == "fights" for score in scores.tolist()] == opposite.tolist()
    assert found.fights == opposite.sum()


def test_where_all_scores_are_positive_none_fights_and_the_most_related_stand_out_from_what_all_share():
    scores = np.random.default_rng(3).normal(0.4, 0.05, 47).astype(np.float32)
    scores[0] = 0.95
    found = chance_of(scores, 512)
    assert (found.positive, found.negative, found.fights, found.teaches) == (47, 0, 0, 1)
    assert found.low < 0 < found.centre < found.high < scores[0]


def test_scores_just_below_zero_do_not_fight_though_all_others_are_far_above():
    scores = np.append(np.random.default_rng(4).normal(0.4, 0.01, 99), -0.05).astype(np.float32)
    assert chance_of(scores, DIM).fights == 0


@pytest.mark.parametrize("clips", range(LEAST_CLIPS))
def test_few_clips_tell_nothing(clips):
    found = chance_of(np.linspace(-1, 1, clips).astype(np.float32), DIM)
    assert (found.low, found.high, found.fights, found.teaches, found.clips) == (None, None, 0, 0, clips)
    assert stands_out(-1.0, found.low, found.high) is None


@pytest.mark.parametrize("score", [-1.0, -0.3, 0.0, 0.3, 1.0])
def test_clips_that_are_all_alike_do_not_stand_out_from_each_other(score):
    found = chance_of(np.full(100, score, np.float32) + np.float32(1e-4) * np.arange(100, dtype=np.float32), DIM)
    assert (found.fights, found.teaches) == (0, 0)


@pytest.mark.parametrize("copies", [0.4, 0.5, 0.7])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.03])
def test_copies_of_one_clip_make_no_other_clip_stand_out(copies, noise):
    rng = np.random.default_rng(5)
    runs, fought = 100, 0
    for run in range(runs):
        gradients = index_of(200, rng)
        many = int(200 * copies)
        gradients[:many] = unit(gradients[0] + noise / np.sqrt(DIM) * rng.normal(size=(many, DIM)))
        query = gradients[0] if run % 2 else unit(rng.normal(size=DIM))
        fought += chance_of(gradients @ query, DIM).fights > 0
    assert fought / runs <= RATE + 3 * np.sqrt(RATE / runs)


def test_the_querys_own_clip_stands_out_however_much_all_clips_share():
    rng = np.random.default_rng(9)
    gradients = index_of(70, rng, shared=1.5)
    scores = gradients @ gradients.T
    assert scores.min() > 0 and np.median(scores) > 0.6
    for own, row in enumerate(scores):
        found = chance_of(row, DIM)
        assert found.high < ALIKE and stands_out(float(row[own]), found.low, found.high) == "teaches"


@pytest.mark.parametrize("kind", ["centre", "whiten"])
def test_preconditioned_queries_are_held_to_the_same_rate(kind):
    rng = np.random.default_rng(6)
    gradients = index_of(300, rng, shared=1.0).astype(np.float64)
    made = Preconditioner.of(gradients.mean(0), gradients.T @ gradients / len(gradients), kind)
    fought = []
    for _ in range(200):
        query, offset = made.apply(unit(rng.normal(size=DIM)))
        fought.append(chance_of((gradients @ query - offset).astype(np.float32), DIM).fights > 0)
    assert np.mean(fought) <= RATE + 3 * np.sqrt(RATE / 200)


@settings(max_examples=25)
@given(scores=arrays(np.float32, st.integers(LEAST_CLIPS, 60), elements=st.floats(-1, 1, width=32)))
def test_the_other_way_round_the_same_clips_stand_out(scores):
    found, turned = chance_of(scores, DIM), chance_of(-scores, DIM)
    assert -1 < found.low <= 0 <= found.high < 1
    assert (turned.low, turned.high, turned.centre) == pytest.approx((-found.high, -found.low, -found.centre), abs=1e-6)
    assert (found.positive, found.negative) == (turned.negative, turned.positive)
    told = [stands_out(score, found.low, found.high) for score in scores.tolist()]
    assert (found.fights, found.teaches) == (told.count("fights"), told.count("teaches"))
    assert chance_of(np.sort(scores), DIM) == found


def test_many_queries_share_the_rate():
    scores = np.random.default_rng(7).normal(0, 0.1, 500).astype(np.float32)
    assert chance_of(scores, DIM, queries=50).low < chance_of(scores, DIM).low


@pytest.mark.parametrize(
    ("freedom", "clips", "value"), [(2.59, 8, 8.277), (17.02, 47, 3.9357), (221.6, 600, 4.0090), (3.7e6, 10**7, 5.8472)]
)
def test_the_quantile_is_students(freedom, clips, value):
    found = _quantile(0.025 / clips, freedom)
    assert value * 0.9999 < found < value * (1.08 if clips == 8 else 1.001)
