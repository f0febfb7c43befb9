"""Gravity of paths that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.curation.comparison.flight import fit_free_flight, paths_under_gravity
from motiontrace.curation.comparison.tracking import Track, track_object
from motiontrace.demo import motions
from motiontrace.demo.looks import Look
from motiontrace.demo.render import FRAME_RATE, FRAMES, render


def track_of(heights, confidence=None):
    heights = np.asarray(heights, float)
    ones = np.ones_like(heights)
    sure = ones if confidence is None else np.asarray(confidence, float)
    return Track(ones / 2, heights, ones / 5, ones / 5, ones / 25, ones == 0, sure)


def bouncing(times, top, floor, gravity, restitution):
    """Heights of a thing that is dropped from `top` at 0 and bounces off `floor`."""
    fall = np.sqrt(2 * (floor - top) / gravity)
    starts, speeds = [fall], [restitution * gravity * fall]
    while starts[-1] < times[-1] and speeds[-1] > 0.05:
        starts.append(starts[-1] + 2 * speeds[-1] / gravity)
        speeds.append(speeds[-1] * restitution)
    heights = top + gravity * times**2 / 2
    for start, speed in zip(starts, speeds, strict=True):
        since = times - start
        heights = np.where(since > 0, floor - speed * since + gravity * since**2 / 2, heights)
    return np.minimum(heights, floor)


@given(gravity=st.floats(0.3, 6), speed=st.floats(-0.5, 0.3), fps=st.sampled_from([6.0, 16.0, 24.0]))
def test_a_parabola_has_the_gravity_it_was_made_with(gravity, speed, fps):
    times = np.arange(int(fps * 1.5)) / fps
    heights = 0.5 + speed * times + gravity * times**2 / 2
    heights = heights[: max(6, int(np.searchsorted(heights, 1.2)))]
    flight = fit_free_flight(track_of(heights), fps)
    if flight is None:
        assert np.ptp(heights) < 0.1
        return
    assert flight.gravity_error(gravity) < 1e-6
    assert flight.residual < 1e-9


def test_what_falls_and_stays_down_is_fitted_while_it_falls():
    times = np.arange(37) / 18
    heights = np.minimum(0.1 + 0.6 * times**2 / 2, 0.75)
    flight = fit_free_flight(track_of(heights), 18)
    assert flight.acceleration == pytest.approx(0.6, rel=1e-6)
    assert max(flight.pieces[0]) < 27
    assert np.isnan(flight.fitted[30:]).all()
    assert flight.fitted[:20] == pytest.approx(heights[:20])


@pytest.mark.parametrize("fps", [18.0, 6.0])
@pytest.mark.parametrize(("gravity", "restitution"), [(4.0, 0.8), (5.2, 0.75), (4.6, 0.85)])
def test_bounces_have_one_gravity(fps, gravity, restitution):
    times = np.arange(int(2 * fps) + 1) / fps
    flight = fit_free_flight(track_of(bouncing(times, 0.25, 0.72, gravity, restitution)), fps)
    assert flight.gravity_error(gravity) < 0.02
    assert flight.residual < 0.002
    assert len(flight.pieces) >= 2
    assert flight.restitution == pytest.approx(restitution, abs=0.08)


def test_a_ball_that_bounces_higher_each_time_keeps_more_than_its_speed():
    times = np.arange(37) / 18
    heights = bouncing(times, 0.57, 0.72, 4.5, 1.35)
    assert fit_free_flight(track_of(heights), 18).restitution == pytest.approx(1.35, abs=0.05)


def test_sinking_at_an_even_speed_does_not_fall():
    flight = fit_free_flight(track_of(np.minimum(0.1 + 0.35 * np.arange(13) / 6, 0.75)), 6)
    assert flight.acceleration == pytest.approx(0, abs=1e-6)
    assert flight.gravity_error(0.6) == pytest.approx(1)
    assert flight.residual < 1e-6


def test_hanging_in_the_air_before_falling_is_off_every_parabola():
    times = np.arange(37) / 18
    heights = np.minimum(0.2 + 3 * np.clip(times - 1, 0, None) ** 2 / 2, 0.75)
    flight = fit_free_flight(track_of(heights), 18)
    assert flight.gravity_error(3.0) > 0.5
    assert flight.residual > 0.02


@given(index=st.integers(2, 20), off=st.floats(0.05, 0.3))
def test_one_frame_that_was_tracked_wrongly_does_not_matter(index, off):
    times = np.arange(27) / 18
    heights = 0.1 + 0.6 * times**2 / 2
    heights[index] -= off
    assert fit_free_flight(track_of(heights), 18).gravity_error(0.6) < 0.03


def test_frames_that_the_tracking_is_unsure_of_are_left_out():
    times = np.arange(27) / 18
    heights, sure = 0.1 + 0.6 * times**2 / 2, np.ones(27)
    heights[[3, 4, 5]], sure[[3, 4, 5]] = 0.4, 0.1
    flight = fit_free_flight(track_of(heights, sure), 18)
    assert flight.gravity_error(0.6) < 1e-6
    assert not {3, 4, 5} & {index for piece in flight.pieces for index in piece}


@pytest.mark.parametrize(
    "heights", [np.full(20, 0.7), 0.7 + 0.01 * np.sin(np.arange(20)), [0.1, 0.2, 0.4], [np.nan] * 10], ids=str
)
def test_what_does_not_fly_has_no_acceleration(heights):
    confidence = 1.0 - np.isnan(np.asarray(heights, float))
    assert fit_free_flight(track_of(heights, confidence), 6) is None


def test_the_way_under_the_true_gravity_is_the_path_itself():
    times = np.arange(20) / 18
    heights = 0.1 + 0.2 * times + 0.9 * times**2 / 2
    track = track_of(heights)
    flight = fit_free_flight(track, 18)
    assert paths_under_gravity(flight, track, 18, 0.9)[:15] == pytest.approx(heights[:15])
    other = paths_under_gravity(flight, track, 18, 3.0)
    assert np.nanmax(np.abs(other - heights)) > 0.05


@pytest.mark.parametrize(("name", "seed"), [("free_fall", 3), ("free_fall", 8), ("bounce", 3), ("bounce", 8)])
@pytest.mark.parametrize(("step", "side", "within"), [(1, None, 0.03), (3, 32, 0.1)], ids=["corpus", "model"])
def test_gravity_of_rendered_clips_is_read_off_them(name, seed, step, side, within, monkeypatch):
    made = []

    def falling(t, top, bottom, gravity, restitution, real=motions._falling):
        made.append(gravity)
        return real(t, top, bottom, gravity, restitution)

    monkeypatch.setattr(motions, "_falling", falling)
    motion = next(motion for motion in motions.MOTIONS if motion.name == name)
    video = render(motion, Look.draw(np.random.default_rng([seed, 1])), np.random.default_rng([seed, 2]))[::step]
    if side:
        video = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in video])
    assert len(video) == (FRAMES - 1) // step + 1
    flight = fit_free_flight(track_object(video), FRAME_RATE / step)
    assert flight.gravity_error(made[0]) < within
    assert flight.residual < 0.01
