"""Clips of few pictures: samples that repeat one are no stillness."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.motion import MotionSummary, clip_weight, motion_magnitude, summarise, to_latent_grid
from motiontrace.attribution.preparation import PreparedClip, prepare_clip
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.attribution.samples import Samples
from tests.attribution.videos import read, write_video

SETTINGS = MotionSettings(repeats="spread")


def walkers(pictures: int = 8, step: int = 50, size: tuple[int, int] = (80, 30)) -> list[np.ndarray]:
    """Two figures that cross a street, seen from afar, three pictures a second: 480 x 832."""
    rng = np.random.default_rng(0)
    street = np.kron(rng.integers(60, 190, (60, 104, 1), dtype=np.uint8), np.ones((8, 8, 3), np.uint8))
    height, width = size
    people = [
        np.kron(rng.integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8), np.ones((5, 5, 1), np.uint8))
        for _ in range(2)
    ]
    shown = []
    for number in range(pictures):
        picture = street.copy()
        for person, left, top in zip(people, (100 + step * number, 560 - step * number), (140, 240), strict=True):
            picture[top : top + height, left : left + width] = person
        shown.append(picture)
    return shown


def prepared(path: Path, frames: int = 17, side: int = 128, **settings: Any) -> PreparedClip:
    recipe: Any = SimpleNamespace(
        frames=frames, height=side, width=side, fps=None, motion=SETTINGS, contrast="none", noise="shared"
    )
    recipe.__dict__.update(settings)
    return prepare_clip(path, recipe, (1 + (frames - 1) // 4, 16, 16), 4, on_stage=lambda stage: None)


def few(path: Path, pictures: list[np.ndarray]) -> Path:
    return write_video(path, pictures, rate=3, options={"crf": "16", "preset": "ultrafast"})


def test_small_figures_that_leap_between_few_pictures_move(tmp_path: Path) -> None:
    path = few(tmp_path / "street.mp4", walkers())
    plain = read(path, frames=8, side=128).frames
    assert not summarise(motion_magnitude(plain, SETTINGS), SETTINGS).moves  # too small for how far they leap
    clip = prepared(path)
    assert clip.motion.moves and clip.region is not None
    assert len(clip.motion.per_frame) == 17
    assert clip.weight.max() > 0


@pytest.mark.parametrize("side", [64, 128])
def test_few_pictures_in_which_nothing_moves_are_still(tmp_path: Path, side: int) -> None:
    rng = np.random.default_rng(0)
    noisy = [np.clip(walkers(1)[0] + rng.normal(0, 2, (480, 832, 1)), 0, 255).astype(np.uint8) for _ in range(6)]
    clip = prepared(few(tmp_path / "still.mp4", noisy), side=side)
    assert not clip.motion.moves and clip.motion.peak == 0 and clip.region is None


def test_a_repeated_sample_weighs_as_the_picture_that_it_shows(tmp_path: Path) -> None:
    path = few(tmp_path / "near.mp4", walkers(pictures=5, step=20, size=(200, 120)))
    repeated, once = prepared(path, frames=17), prepared(path, frames=5)
    assert (repeated.motion.peak, repeated.motion.moves) == (once.motion.peak, True)
    assert set(repeated.motion.per_frame) == set(once.motion.per_frame)
    assert (repeated.weight.flatten(1).max(1).values > 0.5).all()  # no latent frame is without motion
    assert repeated.region is not None and once.region is not None
    assert repeated.region.ranges == once.region.ranges


def test_repeats_in_a_clip_that_is_played_backwards_too(tmp_path: Path) -> None:
    path = few(tmp_path / "near.mp4", walkers(pictures=5, step=20, size=(200, 120)))
    clip = prepared(path, contrast="time_reversed")
    assert clip.backward_weight is not None
    assert (clip.backward_weight.flatten(1).max(1).values > 0.5).all()


def test_an_index_made_before_repeats_were_looked_at_keeps_its_weights(tmp_path: Path) -> None:
    path = few(tmp_path / "near.mp4", walkers(pictures=5, step=20, size=(200, 120)))
    still = MotionSettings()
    clip = prepared(path, motion=still)
    samples = read(path, frames=17, side=128)
    magnitude = motion_magnitude(samples.frames, still)
    weight = to_latent_grid(clip_weight(samples.frames, magnitude, still), (5, 16, 16), 4)
    assert torch.equal(clip.weight, weight) and clip.motion == summarise(magnitude, still)
    assert clip.motion.per_frame.count(0.0) == 12  # all but the last of each picture's samples, and the last picture
    assert not torch.equal(clip.weight, prepared(path).weight)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=12), gap=st.integers(1, 5))
def test_samples_know_their_pictures(counts: list[int], gap: int) -> None:
    index = np.repeat(np.arange(len(counts)) * gap, counts).tolist()
    samples = Samples.of(index)
    values = np.arange(len(counts), dtype=np.float32)
    assert samples.repeat == (len(index) > len(counts))
    assert (samples.spread(values) * gap == index).all()
    assert [index[first] for first in samples.first] == sorted(set(index))
    told = MotionSummary(mean=values.mean(), peak=1.0, moves=True, per_frame=tuple(values.tolist()))
    spread = samples.spread_summary(told)
    assert len(spread.per_frame) == len(index) and spread.mean == pytest.approx(np.mean(spread.per_frame))
    assert samples.spread(values[::-1].copy())[::-1].tolist() == Samples.of(index[::-1]).spread(values).tolist()
