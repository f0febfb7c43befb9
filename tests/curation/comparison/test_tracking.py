"""The object's place, against where it was drawn."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest

from motiontrace.curation.comparison.tracking import track_object
from motiontrace.demo.looks import Look
from motiontrace.demo.motions import MOTIONS
from motiontrace.demo.render import FRAME_RATE, FRAMES, SIDE, render
from tests.curation.comparison import scenes
from tests.curation.comparison.scenes import disc_video, wall

MOVING = ("free_fall", "bounce", "roll", "slide", "swing", "float", "hover_then_fall", "constant_fall")


def errors(track, xs, ys):
    """Pixels between the track and the truth in each frame."""
    return np.hypot(track.x * scenes.SIDE - xs, track.y * scenes.SIDE - ys)


def test_centre_is_found_to_a_fraction_of_a_pixel():
    xs, ys = 24 + 5.3 * np.arange(14), 30 + 0.37 * np.arange(14) ** 2
    track = track_object(disc_video(xs, ys))
    assert errors(track, xs, ys).max() < 0.5
    assert track.confidence.min() > 0.9
    assert track.found == 1.0
    assert track.area == pytest.approx(np.pi * (scenes.RADIUS / scenes.SIDE) ** 2, rel=0.06)
    assert track.width == pytest.approx(2 * scenes.RADIUS / scenes.SIDE, rel=0.1)


def test_mirrored_video_gives_the_mirrored_track():
    xs, ys = 24 + 6.1 * np.arange(12), np.full(12, 50.0)
    video = disc_video(xs, ys)
    here, there = track_object(video), track_object(video[:, :, ::-1])
    assert 1 - there.x == pytest.approx(here.x, abs=0.003)
    assert there.y == pytest.approx(here.y, abs=0.003)


def test_an_object_that_covers_its_path_most_of_the_time_is_not_taken_for_the_wall():
    ys = 60 + 24 * np.abs(np.cos(np.arange(24) / 3))
    xs = np.full(24, 64.0)
    plain = np.full((scenes.SIDE, scenes.SIDE, 3), (170, 176, 184), np.uint8)
    video = disc_video(xs, ys, radius=26, behind=plain)
    median = np.median(video, axis=0)
    assert np.abs(median - plain).max() > 50  # the median alone would be wrong
    assert errors(track_object(video), xs, ys).max() < 2


def test_an_object_that_the_edge_cuts_is_placed_by_what_is_seen_of_it():
    ys = 2 + 7.5 * np.arange(14)
    xs = np.full(14, 64.0)
    track = track_object(disc_video(xs, ys))
    assert track.cut[:2].all()
    assert not track.cut[3:].any()
    assert errors(track, xs, ys).max() < 1.5


def test_a_stripe_in_the_colour_of_the_wall_does_not_cut_it_in_two():
    xs, ys = 24 + 6 * np.arange(12), np.full(12, 60.0)
    plain = np.full((scenes.SIDE, scenes.SIDE, 3), 180, np.uint8)
    video = disc_video(xs, ys, radius=22, stripe=(180, 180, 180), behind=plain)
    track = track_object(video)
    assert errors(track, xs, ys).max() < 1


def test_a_string_is_not_part_of_it():
    xs, ys = 64 + 30 * np.sin(np.arange(16) / 2), np.full(16, 70.0)
    video = disc_video(xs, ys)
    for frame, x in zip(video, xs, strict=True):
        cv2.line(frame, (64, 0), (round(float(x)), 70), (60, 50, 40), 2, cv2.LINE_AA)
    track = track_object(video)
    assert not track.cut.any()
    assert errors(track, xs, ys).max() < 2


def test_noise_shifts_it_little():
    xs, ys = 24 + 5 * np.arange(14), np.full(14, 60.0)
    noise = np.random.default_rng(2).normal(0, 4, (14, scenes.SIDE, scenes.SIDE, 3))
    video = np.clip(disc_video(xs, ys) + noise, 0, 255).astype(np.uint8)
    assert errors(track_object(video), xs, ys).max() < 1


def test_nothing_is_found_in_a_still_video():
    track = track_object(np.stack([wall()] * 6))
    assert track.found == 0.0
    assert not track.confidence.any()
    assert np.isnan(track.y).all()
    assert track.area_variation is None


def test_frames_without_the_object_have_no_place():
    video = disc_video(24 + 6 * np.arange(12), np.full(12, 60.0))
    video[5] = wall()
    track = track_object(video)
    assert np.isnan(track.x[5]) and track.confidence[5] == 0
    assert track.found == pytest.approx(11 / 12)


def test_a_scene_that_changes_as_a_whole_is_not_an_object():
    panning = np.random.default_rng(3).integers(0, 255, (8, scenes.SIDE, scenes.SIDE, 3)).astype(np.uint8)
    panning = np.stack([cv2.GaussianBlur(frame, (0, 0), 5) * 4 for frame in panning])
    assert track_object(panning).confidence.mean() < 0.3


def test_area_tells_one_thing_from_one_that_swells():
    xs, ys = 30 + 6 * np.arange(12), np.full(12, 60.0)
    rigid = track_object(disc_video(xs, ys))
    swelling = track_object(disc_video(xs, ys, radius=np.linspace(10, 24, 12)))
    assert rigid.area_variation < 0.03
    assert swelling.area_variation > 0.3
    assert swelling.confidence.mean() < rigid.confidence.mean()


def test_the_last_of_two_things_that_come_apart_is_less_sure():
    xs, ys = 40 + 3 * np.arange(10), np.full(10, 40.0)
    other = disc_video(90 - 3 * np.arange(10), np.full(10, 95.0), radius=15)
    video = np.where((other != wall()).any(axis=3, keepdims=True), other, disc_video(xs, ys))
    assert track_object(video).confidence.mean() < 0.65


def rendered(name, seed):
    """A clip of the demo, and the true path of its body in frame heights (its drawing is half a pixel off)."""
    motion = next(motion for motion in MOTIONS if motion.name == name)
    look = Look.draw(np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    (body,) = motion.move(np.arange(FRAMES) / FRAME_RATE, look.radius, copy.deepcopy(rng)).bodies
    return render(motion, look, rng), np.stack([body.x, body.y]) + 0.5 / SIDE


@pytest.mark.parametrize("name", MOVING)
def test_rendered_motions_are_followed(name):
    frames, truth = rendered(name, 4)
    small = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in frames[::3]])
    for video, path in ((frames[::2], truth[:, ::2]), (small, truth[:, ::3])):
        track = track_object(video)
        off = np.hypot(track.x - path[0], track.y - path[1])
        assert np.median(off) < 0.008  # 1.5 pixels of the corpus's 192, a quarter of one of the model's 32
        assert np.quantile(off, 0.9) < 0.02
