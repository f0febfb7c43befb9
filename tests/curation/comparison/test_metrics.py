"""Motion by flow: what stands still, speed, smoothness and flicker."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from motiontrace.curation.comparison.metrics import DYNAMIC_SPEED, motion_metrics
from tests.curation.comparison.scenes import SIDE, disc_video, wall

FRAMES = 8


def sliding(step: float, frames: int = FRAMES) -> np.ndarray:
    """A disc that moves by `step` pixels a frame."""
    return disc_video(30 + step * np.arange(frames), np.full(frames, 60.0))


def test_nothing_moves_in_a_still_video():
    still = motion_metrics(np.stack([wall()] * 5), 8)
    assert (still.dynamic_degree, still.dynamic, still.smoothness, still.steadiness) == (0.0, False, 1.0, 1.0)


def test_speed_is_measured_in_short_sides_a_second():
    measured = motion_metrics(sliding(4), 8).dynamic_degree
    assert measured == pytest.approx(4 / SIDE * 8, rel=0.25)


def test_twice_the_speed_is_about_twice_the_degree():
    slow, fast = (motion_metrics(sliding(step), 8).dynamic_degree for step in (3, 6))
    assert fast / slow == pytest.approx(2, rel=0.15)


def test_the_same_frames_shown_at_twice_the_rate_move_twice_as_fast():
    video = sliding(4)
    assert motion_metrics(video, 8).dynamic_degree == pytest.approx(2 * motion_metrics(video, 4).dynamic_degree)


def test_more_frames_a_second_of_the_same_motion_are_as_fast():
    coarse, fine = motion_metrics(sliding(4, 8), 8), motion_metrics(sliding(2, 15), 16)
    assert fine.dynamic_degree == pytest.approx(coarse.dynamic_degree, rel=0.1)
    assert fine.dynamic == coarse.dynamic


def test_a_video_is_dynamic_from_vbenchs_speed_on():
    pixels_a_frame = DYNAMIC_SPEED * SIDE / 8
    below, above = (motion_metrics(sliding(share * pixels_a_frame), 8) for share in (0.7, 1.5))
    assert (below.dynamic, above.dynamic) == (False, True)


def test_a_quarter_of_the_frames_has_to_be_fast():
    moved = [30.0] * 15 + [42.0]  # one jump among fifteen pairs
    assert not motion_metrics(disc_video(moved, [60.0] * 16), 8).dynamic


def test_the_mirrored_video_measures_alike():
    video = sliding(3)
    here, mirrored = motion_metrics(video, 8), motion_metrics(video[:, :, ::-1], 8)
    assert mirrored.dynamic_degree == pytest.approx(here.dynamic_degree, rel=0.05)
    assert mirrored.smoothness == pytest.approx(here.smoothness, abs=0.01)
    assert mirrored.steadiness == pytest.approx(here.steadiness, abs=0.002)


def test_size_in_pixels_does_not_change_the_speed():
    video = sliding(4, 5)
    small = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in video])
    large = np.stack([cv2.resize(frame, (512, 512), interpolation=cv2.INTER_CUBIC) for frame in video])
    here = motion_metrics(video, 8).dynamic_degree
    assert motion_metrics(small, 8).dynamic_degree == pytest.approx(here, rel=0.25)
    assert motion_metrics(large, 8).dynamic_degree == pytest.approx(here, rel=0.15)


def test_a_jittering_path_is_less_smooth_than_an_even_one():
    even = sliding(3)
    jitter = np.where(np.arange(FRAMES) % 2, 3.0, -3.0)
    jittering = disc_video(30 + 3 * np.arange(FRAMES) + jitter, np.full(FRAMES, 60.0))
    assert motion_metrics(even, 8).smoothness - motion_metrics(jittering, 8).smoothness > 0.02


def test_a_dropped_out_frame_is_not_smooth():
    video = sliding(2)
    broken = video.copy()
    broken[4] = wall()
    assert motion_metrics(video, 8).smoothness - motion_metrics(broken, 8).smoothness > 0.02


def test_flicker_of_what_stands_still_is_no_motion_but_unsteady():
    noise = np.random.default_rng(1).normal(0, 4, (6, SIDE, SIDE, 3))
    flickering = np.clip(np.stack([wall()] * 6) + noise, 0, 255).astype(np.uint8)
    measured = motion_metrics(flickering, 8)
    assert measured.dynamic_degree < 0.01
    assert measured.steadiness == pytest.approx(1 - np.sqrt(2) * 4 * np.sqrt(2 / np.pi) / 255, abs=0.002)


def test_what_moves_is_left_out_of_the_steadiness():
    assert motion_metrics(sliding(4), 8).steadiness > 0.998


def test_short_videos_have_no_smoothness():
    video = sliding(4)
    assert motion_metrics(video[:2], 8).smoothness is None
    one = motion_metrics(video[:1], 8)
    assert (one.dynamic_degree, one.dynamic, one.steadiness) == (0.0, False, None)


@pytest.mark.parametrize(("frames", "fps"), [(sliding(1, 2), 0.0), (sliding(1, 2)[..., 0], 8.0)])
def test_what_cannot_be_measured_is_refused(frames, fps):
    with pytest.raises(ValueError, match="has to be positive"):
        motion_metrics(frames, fps)
