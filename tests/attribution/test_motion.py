"""Motion: where it lies, what counts as none, and how the weight reaches the latent grid."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from motiontrace.attribution.motion import (
    MotionSummary,
    motion_magnitude,
    motion_weight,
    overlay,
    summarise,
    to_latent_grid,
    upscale_factor,
)
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.attribution.video import read_video
from tests.attribution.videos import still, write_video

SETTINGS = MotionSettings()


def texture(side: int = 128, seed: int = 0) -> np.ndarray:
    """Something to see everywhere: smooth random colours, uint8 [side, side, 3]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side // 8, side // 8, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def square(offsets: list[float], side: int = 128) -> np.ndarray:
    """A bright square of 32 pixels, `offset` pixels right of its place before a darker wall: uint8 [F, H, W, 3]."""
    patch = texture(32, seed=5) // 2 + 127
    frames = np.stack([texture(side) // 3] * len(offsets))
    for frame, offset in zip(frames, offsets, strict=True):
        shift = np.float32([[1, 0, 24 + offset], [0, 1, 48]])
        cv2.warpAffine(patch, shift, (side, side), dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
    return frames


def measure(frames: np.ndarray) -> MotionSummary:
    return summarise(motion_magnitude(frames, SETTINGS), SETTINGS)


def decoded(path: Path) -> np.ndarray:
    return read_video(path, frames=17, height=128, width=128).frames


# --- magnitude ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1.0, 2.0, 5.0])
def test_the_magnitude_is_the_displacement_on_the_thing_that_moves_in_every_frame(step: float) -> None:
    offsets = [step * index for index in range(6)]
    magnitude = motion_magnitude(square(offsets), SETTINGS)
    assert magnitude.shape == (6, 128, 128) and magnitude.dtype == np.float32
    for frame, offset in zip(magnitude, offsets, strict=True):
        left = 24 + int(offset)
        assert np.median(frame[54:74, left + 6 : left + 26]) == pytest.approx(step, rel=0.15)
        assert np.median(frame[:30]) < 0.1 and np.median(frame[:, 100:]) < 0.1


def test_the_last_frame_looks_back() -> None:
    frames = square([0, 3, 6])
    assert (motion_magnitude(frames, SETTINGS)[-1] == motion_magnitude(frames[::-1], SETTINGS)[0]).all()


def test_a_moving_camera_moves_everything() -> None:
    wide = texture(256)
    frames = np.stack([wide[64:192, 40 + 2 * index : 168 + 2 * index] for index in range(5)])
    magnitude = motion_magnitude(frames, SETTINGS)
    assert np.median(magnitude, axis=(1, 2)) == pytest.approx(2.0, rel=0.1)
    assert measure(frames).moves


def test_still_frames_in_a_moving_clip_are_exactly_zero() -> None:
    magnitude = motion_magnitude(square([0, 3, 6, 9, 9, 9, 9, 9]), SETTINGS)
    assert (magnitude[:3].reshape(3, -1).max(1) > 2).all()
    assert (magnitude[3:] == 0).all()


def test_one_frame_has_no_motion() -> None:
    summary = measure(square([0.0]))
    assert summary == MotionSummary(mean=0.0, peak=0.0, moves=False, per_frame=(0.0,))


def test_two_frames_can_move() -> None:
    assert measure(square([0.0, 3.0])).moves
    assert not measure(square([0.0, 0.0])).moves


# --- what moves and what does not -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [
    {"options": {"crf": "35"}},
    {"options": {"crf": "42", "g": "12"}},
    {"options": {"crf": "35", "g": "12"}, "noise": 4.0},
    {"options": {"crf": "28"}, "noise": 8.0},
    {"options": {"qscale": "20"}, "noise": 3.0, "codec": "mpeg4"},
])  # fmt: skip
@pytest.mark.parametrize("looks", ["textured", "plain", "gradient"])
def test_the_noise_of_sensor_and_codec_is_no_motion(tmp_path: Path, looks: str, encoding: dict[str, object]) -> None:
    picture = texture(192)
    if looks != "textured":
        picture[:] = 120 if looks == "plain" else np.linspace(40, 200, 192)[None, :, None]
        cv2.circle(picture, (90, 90), 30, (210, 60, 50), -1, cv2.LINE_AA)
    path = still(tmp_path / "still.mp4", picture, **encoding)
    magnitude = motion_magnitude(decoded(path), SETTINGS)
    assert not summarise(magnitude, SETTINGS).moves
    assert np.isfinite(motion_weight(magnitude)).all()


def test_changing_light_is_no_motion() -> None:
    rng = np.random.default_rng(1)
    wall = np.linspace(60, 190, 256)[:, None, None]  # brighter light looks like the same wall a little higher
    frames = [wall * (1 + 0.08 * rng.standard_normal()) + rng.normal(0, 2, (256, 256, 3)) for _ in range(9)]
    assert not measure(np.clip(frames, 0, 255).astype(np.uint8)).moves


def test_a_thing_that_comes_into_the_last_frame_is_no_motion() -> None:
    frames = np.stack([texture()] * 9)
    frames[-1, 90:, 40:80] = 10
    assert not measure(frames).moves


def test_a_cut_between_two_stills_is_no_motion() -> None:
    assert not measure(np.stack([texture(seed=1)] * 5 + [texture(seed=2)] * 4)).moves


def test_a_short_motion_in_a_still_clip_moves() -> None:
    assert measure(square([0.0] * 8 + [4.0] + [8.0] * 8)).moves


def test_slow_motion_moves_though_neighbours_look_alike(tmp_path: Path) -> None:
    frames = [cv2.GaussianBlur(frame, (0, 0), 6) for frame in square([0.4 * index for index in range(17)])]
    summary = measure(decoded(write_video(tmp_path / "slow.mp4", frames)))
    assert summary.moves and summary.peak < 1.0


def test_the_summary_tells_when_it_moves() -> None:
    frames = square([0, 3, 6, 9, 9, 9, 9, 9])
    magnitude = motion_magnitude(frames, SETTINGS)
    summary = summarise(magnitude, SETTINGS)
    assert summary.peak == pytest.approx(3, rel=0.3)
    assert summary.per_frame == pytest.approx(magnitude.mean((1, 2)))
    assert summary.mean == pytest.approx(magnitude.mean())
    assert not summarise(magnitude, MotionSettings(floor=10.0)).moves


# --- settings -------------------------------------------------------------------------------------------------


@given(height=st.integers(1, 2000), width=st.integers(1, 2000), short_side=st.integers(32, 1024))
def test_the_upscale_factor_is_the_least_that_reaches_the_short_side(height: int, width: int, short_side: int) -> None:
    factor = upscale_factor(height, width, short_side)
    assert factor * min(height, width) >= short_side
    assert factor == 1 or (factor - 1) * min(height, width) < short_side


def test_settings_are_frozen_strict_and_survive_json() -> None:
    assert MotionSettings.model_validate_json(SETTINGS.model_dump_json()) == SETTINGS
    with pytest.raises(ValidationError):
        MotionSettings(tracker="raft")  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        SETTINGS.floor = 1.0  # type: ignore[misc]


# --- weight ---------------------------------------------------------------------------------------------------

MAGNITUDES = arrays(np.float32, (3, 4, 5), elements=st.floats(0, 500, width=32))


@given(MAGNITUDES)
def test_the_weight_is_the_min_max_of_the_magnitude(magnitude: np.ndarray) -> None:
    weight = motion_weight(magnitude)
    exact = magnitude.astype(np.float64)
    exact = (exact - exact.min()) / (exact.max() - exact.min() + 1e-6)
    assert weight.dtype == np.float32
    assert (weight >= 0).all() and (weight <= 1).all()
    np.testing.assert_allclose(weight, exact, atol=1e-5)


def test_no_motion_weighs_nothing() -> None:
    assert (motion_weight(np.zeros((3, 4, 5), np.float32)) == 0).all()


@settings(max_examples=50)
@given(latent_frames=st.integers(1, 5), compression=st.integers(1, 4), data=st.data())
def test_every_latent_frame_gets_the_mean_of_the_frames_it_covers(
    latent_frames: int, compression: int, data: st.DataObject
) -> None:
    frames = 1 + (latent_frames - 1) * compression
    weight = data.draw(arrays(np.float32, (frames, 4, 6), elements=st.floats(0, 1, width=32)))
    grid = to_latent_grid(weight, (latent_frames, 4, 6), compression)
    assert grid.dtype == torch.float32
    for latent in range(latent_frames):
        covered = [f for f in range(frames) if -(-f // compression) == latent]  # frame 0 alone, then r at a time
        np.testing.assert_allclose(grid[latent], weight[covered].mean(0), atol=1e-6)


def test_the_latent_grid_is_antialiased_and_keeps_its_place() -> None:
    stripes = np.tile(np.float32([0, 0, 0, 1, 1, 0, 0, 0]), (1, 64, 8))
    assert to_latent_grid(stripes, (1, 8, 8), 4).numpy() == pytest.approx(0.25, abs=0.06)
    spot = np.zeros((1, 64, 64), np.float32)
    spot[0, 8:16, 40:48] = 1.0
    grid = to_latent_grid(spot, (1, 8, 8), 4)[0]
    assert divmod(int(grid.argmax()), 8) == (1, 5)
    assert float(grid.sum()) == pytest.approx(1.0, abs=0.05)


def test_frames_that_do_not_fill_the_latent_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 17 frames"):
        to_latent_grid(np.zeros((16, 8, 8), np.float32), (5, 2, 2), 4)


# --- overlay --------------------------------------------------------------------------------------------------


def test_the_overlay_glows_where_things_move_and_only_there() -> None:
    frames = square([0, 3, 6, 9])
    heated = overlay(frames, motion_magnitude(frames, SETTINGS))
    change = np.abs(heated.astype(int) - frames).max(-1)
    assert heated.shape == frames.shape and heated.dtype == np.uint8
    assert change[1, 60, 45] > 30 and change[:, :20].max() < 20
    assert (overlay(frames, np.zeros(frames.shape[:3], np.float32)) == frames).all()


@pytest.mark.parametrize("noise", [0, 3])
def test_weight_lies_on_the_thing_that_moves(tmp_path, noise):
    """A plain disc on a plain wall with a camera's noise, as H.264: flow alone wanders all over the wall."""
    rng = np.random.default_rng(0)
    frames = np.full((17, 128, 128, 3), 120, np.uint8)
    on_disc = np.zeros((17, 128, 128), np.uint8)
    for index, frame in enumerate(frames):
        cv2.circle(frame, (20 + 5 * index, 64), 14, (200, 60, 50), -1)
        cv2.circle(on_disc[index], (20 + 5 * index, 64), 18, 1, -1)
    noisy = np.clip(frames + rng.normal(0, noise, frames.shape), 0, 255).astype(np.uint8)
    video = read_video(write_video(tmp_path / "disc.mp4", list(noisy)), frames=17, height=128, width=128)
    weight = motion_weight(motion_magnitude(video.frames, SETTINGS))
    assert weight[on_disc == 1].sum() > 0.85 * weight.sum()
    assert weight[on_disc == 1].mean() > 0.5
