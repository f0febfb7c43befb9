"""Motion regions: when a clip moves, and whether the box sits on what moves."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.flow import SEEN_PATCH
from motiontrace.attribution.motion import motion_magnitude, summarise
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.attribution.region import MAX_KEYFRAMES, MAX_RANGES, MOVING_SHARE, PAUSE, MotionRegion, motion_region
from motiontrace.attribution.video import DecodedVideo, VideoInfo, read_video
from motiontrace.demo.looks import Look
from motiontrace.demo.motions import FLOOR, MOTIONS
from motiontrace.demo.render import FRAME_RATE, FRAMES, render, write_mp4

SETTINGS = MotionSettings()
SIDE, FPS = 100, 10.0
WIDER = SEEN_PATCH // 2  # pixels by which motion is seen beyond a thing
Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom of a thing, in pixels."""


def moving(frames: Sequence[Sequence[Rectangle]], pixels: float | Sequence[float] = 4.0) -> np.ndarray:
    """The magnitude of things in rectangles as flow sees it, where they are and where they go: float32 [F, SIDE, SIDE].

    In a frame without things nothing moves.
    """
    magnitude = np.zeros((len(frames), SIDE, SIDE), np.float32)
    neighbours = [*frames[1:], *frames[-2:-1]]
    amounts = np.broadcast_to(pixels, len(frames)).tolist()
    for frame, here, there, amount in zip(magnitude, frames, neighbours or [[]], amounts, strict=True):
        for left, top, right, bottom in [*here, *there] if here else []:
            frame[max(0, top - WIDER) : bottom + WIDER, max(0, left - WIDER) : right + WIDER] = amount
    return magnitude


def region_of(
    magnitude: np.ndarray, *, source_index: tuple[int, ...] = (), fps: float = FPS, width: int = 320, height: int = 320
) -> MotionRegion | None:
    """The region of a clip of `width` x `height` whose every frame was sampled, if not told otherwise."""
    source_index = source_index or tuple(range(len(magnitude)))
    frames = source_index[-1] + 1
    info = VideoInfo(width, height, frames, frames / fps, fps, codec="raw", container="raw", rotation=0)
    pixels = np.zeros((*magnitude.shape, 3), np.uint8)
    summary = summarise(magnitude, SETTINGS)
    return motion_region(magnitude, summary, DecodedVideo(pixels, source_index, info), SETTINGS.floor)


def times_of(moves: str, **clip: float) -> list[tuple[float, float]]:
    """The ranges of a clip in which a thing moves in the frames that are marked by x."""
    region = region_of(moving([[(30, 30, 60, 60)] if mark == "x" else [] for mark in moves]), **clip)
    assert region is not None
    return [(round(start, 6), round(end, 6)) for start, end in region.ranges]


def box_at(region: MotionRegion, time: float) -> np.ndarray | None:
    """Left, top, right, bottom of the box at a time, as tools draw it; None where there is none."""
    for before, after in pairwise(region.keyframes):
        if before.visible and before.time <= time < after.time:
            share = (time - before.time) / (after.time - before.time)
            ends = [[each.x, each.y, each.x + each.width, each.y + each.height] for each in (before, after)]
            return (1 - share) * np.array(ends[0]) + share * np.array(ends[1])
    return None


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common)


# --- when -----------------------------------------------------------------------------------------------------


def test_a_clip_in_which_nothing_moves_has_no_region() -> None:
    assert region_of(moving([[]] * 6)) is None
    assert region_of(moving([[(30, 30, 60, 60)]] * 6, pixels=0.2)) is None
    assert region_of(moving([[(30, 30, 60, 60)]])) is None


def test_a_range_lasts_until_the_frame_that_stands_still() -> None:
    assert times_of("..xxx.....") == [(0.2, 0.5)]


def test_a_range_lasts_no_longer_than_the_clip() -> None:
    assert times_of("......xxxx") == [(0.6, 1.0)]


def test_a_short_pause_is_no_end_and_a_long_one_is() -> None:
    pause = round(PAUSE * FPS)
    assert times_of("xx" + "." * pause + "xx") == [(0.0, 0.9)]
    assert times_of("xx" + "." * (pause + 1) + "xx") == [(0.0, 0.2), (0.8, 1.0)]


def test_what_is_slow_beside_the_clips_peak_does_not_move() -> None:
    place = [(30, 30, 60, 60)]
    amounts = [20.0] * 4 + [0.9 * 20 * MOVING_SHARE] * 4
    region = region_of(moving([place] * 8, amounts))
    assert region is not None and region.ranges == ((0.0, 0.4),)
    slow = region_of(moving([place] * 8, amounts[4:] * 2))  # the same, in a clip where nothing is faster
    assert slow is not None and slow.ranges == ((0.0, 0.8),)


def test_few_pixels_are_no_motion() -> None:
    still_but_for_a_speck = [[(30, 30, 60, 60)]] * 3 + [[(50, 50, 51, 51)]] * 9
    region = region_of(moving(still_but_for_a_speck))
    assert region is not None and region.ranges == ((0.0, 0.3),)


def test_of_too_many_ranges_the_strongest_are_kept_in_their_order() -> None:
    bursts, gap = MAX_RANGES + 5, 7
    place, still = [(30, 30, 60, 60)], [[]] * (gap - 1)
    amounts = np.repeat(2.0 + np.arange(bursts) % 7, gap)
    region = region_of(moving([frame for _ in range(bursts) for frame in (place, *still)], amounts))
    assert region is not None
    kept = [round(start * FPS) // gap for start, _ in region.ranges]
    assert len(kept) == MAX_RANGES and kept == sorted(kept)
    left_out = set(range(bursts)) - set(kept)
    assert max(number % 7 for number in left_out) <= min(number % 7 for number in kept)
    assert {round(frame.time * FPS) // gap for frame in region.keyframes} == set(kept)


def test_frames_that_are_sampled_again_and_again_count_once() -> None:
    # Between two samples of the same frame nothing moves; the last of them shows what happens next.
    source_index = (0, 0, 0, 1, 1, 1, 2, 2, 2, 9, 9)
    moves = [source != after for source, after in pairwise(source_index)] + [False]
    magnitude = moving(
        [[(30 + 5 * source, 30, 60, 60)] if moved else [] for source, moved in zip(source_index, moves, strict=True)]
    )
    region = region_of(magnitude, source_index=source_index)
    assert region is not None and region.ranges == ((0.0, 0.9),)
    box = box_at(region, 0.2)
    assert box is not None and box == pytest.approx([0.4, 0.3, 0.6, 0.6])


# --- where ----------------------------------------------------------------------------------------------------


def test_the_box_follows_a_steady_thing_by_few_keyframes_where_it_is_and_not_where_it_goes() -> None:
    region = region_of(moving([[(10 + 4 * time, 40, 30 + 4 * time, 60)] for time in range(15)]))
    assert region is not None
    for time in range(1, 14):  # nothing tells the two places apart in the first frame and the last
        box = box_at(region, time / FPS)
        assert box is not None and box == pytest.approx([0.1 + 0.04 * time, 0.4, 0.3 + 0.04 * time, 0.6], abs=0.001)
    assert [round(frame.time * FPS) for frame in region.keyframes] == [0, 1, 13, 14, 15]
    assert [frame.visible for frame in region.keyframes] == [True] * 4 + [False]


def test_a_turn_has_a_keyframe() -> None:
    way = [10, 14, 18, 22, 26, 30, 30, 26, 22, 18, 14, 10]
    region = region_of(moving([[(left, 40, left + 20, 60)] for left in way]))
    assert region is not None
    for time, left in enumerate(way):
        box = box_at(region, time / FPS)
        assert box is not None and box[0] == pytest.approx(left / 100, abs=0.02)
    assert len(region.keyframes) <= 6


def test_specks_are_left_out_and_heavy_things_share_a_box() -> None:
    thing, speck, other = (10, 10, 40, 40), (90, 90, 92, 92), (60, 70, 80, 90)
    alone = region_of(moving([[thing, speck]] * 6))
    assert alone is not None and box_at(alone, 0.2) == pytest.approx([0.1, 0.1, 0.4, 0.4])
    both = region_of(moving([[thing, other]] * 6))
    assert both is not None and box_at(both, 0.2) == pytest.approx([0.1, 0.1, 0.8, 0.9])


def test_what_is_small_and_fast_is_no_speck() -> None:
    large, small = moving([[(5, 5, 65, 65)]] * 6, 2.0), moving([[(80, 80, 90, 90)]] * 6, 20.0)
    region = region_of(np.maximum(large, small))
    assert region is not None and box_at(region, 0.2) == pytest.approx([0.05, 0.05, 0.9, 0.9])


def test_a_restless_box_is_told_by_a_bounded_number_of_keyframes() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(3, 70, (500, 2)).tolist()
    region = region_of(moving([[(left, top, left + 25, top + 25)] for left, top in corners]))
    assert region is not None and MAX_KEYFRAMES / 2 < len(region.keyframes) <= MAX_KEYFRAMES


def test_what_one_frame_says_alone_is_not_believed() -> None:
    frames = [[(30, 30, 50, 50)] for _ in range(9)]
    frames[4] = [(5, 5, 90, 90)]
    region = region_of(moving(frames))
    assert region is not None and box_at(region, 0.4) == pytest.approx([0.3, 0.3, 0.5, 0.5])
    assert len(region.keyframes) == 2


def test_pauses_within_a_range_keep_the_box() -> None:
    region = region_of(moving([[(10, 40, 30, 60)]] * 3 + [[]] * 2 + [[(20, 40, 40, 60)]] * 3))
    assert region is not None
    box = box_at(region, 0.35)
    assert box is not None and 0.1 < box[0] < 0.2


def test_a_moving_camera_has_the_whole_picture() -> None:
    region = region_of(moving([[(0, 0, SIDE, SIDE)]] * 5), width=1920, height=1080)
    assert region is not None
    assert box_at(region, 0.2) == pytest.approx([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (320, 320, [0.1, 0.2, 0.5, 0.6]),
        (640, 320, [0.25 + 0.05, 0.2, 0.25 + 0.25, 0.6]),
        (320, 640, [0.1, 0.25 + 0.1, 0.5, 0.25 + 0.3]),
    ],
)
def test_boxes_are_of_the_whole_picture_though_frames_are_cut_to_the_recipes_shape(
    width: int, height: int, expected: list[float]
) -> None:
    region = region_of(moving([[(10, 20, 50, 60)]] * 5), width=width, height=height)
    assert region is not None and box_at(region, 0.1) == pytest.approx(expected, abs=1e-4)


def test_a_cut_clip_has_its_box_where_its_thing_is(tmp_path: Path) -> None:
    """The same through a file: a wide clip, read as a square."""
    rng = np.random.default_rng(0)
    thing = rng.integers(120, 255, (60, 60, 3), dtype=np.uint8)
    pictures = np.full((12, 240, 480, 3), 60, np.uint8)
    for number, picture in enumerate(pictures):
        picture[100:160, 160 + 6 * number : 220 + 6 * number] = thing
    path = tmp_path / "wide.mp4"
    write_mp4(path, pictures, 12)
    region = region_of_file(path, 12)
    for number in range(12):
        box = box_at(region, number / 12)
        assert box is not None
        assert box[0] < (160 + 6 * number) / 480 and box[2] > (220 + 6 * number) / 480
        if number >= 2:  # while it is near the edge of what is seen, the box begins there
            assert (box[0] + box[2]) / 2 == pytest.approx((190 + 6 * number) / 480, abs=0.02)
            assert (box[1] + box[3]) / 2 == pytest.approx(130 / 240, abs=0.02)


def region_of_file(path: Path, frames: int) -> MotionRegion:
    video = read_video(path, frames=frames, height=128, width=128)
    magnitude = motion_magnitude(video.frames, SETTINGS)
    region = motion_region(magnitude, summarise(magnitude, SETTINGS), video, SETTINGS.floor)
    assert region is not None
    return region


# --- the demo's clips, whose positions are known --------------------------------------------------------------

BALL = Look(shape="ball", colour="red", background="sky", size="large", light="left", radius=0.2)


@pytest.mark.parametrize(
    ("name", "sampled", "least"),
    [
        ("float", 37, 0.8),
        ("free_fall", 37, 0.7),
        ("roll", 37, 0.65),
        ("slide", 37, 0.6),
        ("bounce", 37, 0.6),
        ("float", 13, 0.6),
        ("free_fall", 13, 0.65),
        ("roll", 13, 0.5),
        ("slide", 13, 0.5),
        ("bounce", 13, 0.5),
    ],
)
def test_the_box_sits_on_a_ball_whose_way_is_known(name: str, sampled: int, least: float, tmp_path: Path) -> None:
    (motion,) = (motion for motion in MOTIONS if motion.name == name)
    path = tmp_path / "ball.mp4"
    write_mp4(path, render(motion, BALL, np.random.default_rng(1)))
    (body,) = motion.move(np.arange(FRAMES) / FRAME_RATE, BALL.radius, np.random.default_rng(1)).bodies
    region = region_of_file(path, sampled)
    overlaps = []
    for number in range(FRAMES):
        box = box_at(region, number / FRAME_RATE)
        if box is not None:
            centre = np.array([body.x[number], body.y[number]])
            overlaps.append(overlap(box, np.clip([*(centre - BALL.radius), *(centre + BALL.radius)], 0, 1)))
    assert len(overlaps) > FRAMES // 2
    assert np.mean(overlaps) > least


def test_the_range_of_a_ball_that_hangs_in_the_air_begins_with_its_fall(tmp_path: Path) -> None:
    (motion,) = (motion for motion in MOTIONS if motion.name == "hover_then_fall")
    path = tmp_path / "ball.mp4"
    write_mp4(path, render(motion, BALL, np.random.default_rng(1)))
    (body,) = motion.move(np.arange(FRAMES) / FRAME_RATE, BALL.radius, np.random.default_rng(1)).bodies
    falls = np.flatnonzero(np.diff(body.y) > 0.005)
    assert body.y[falls[-1] + 1] == pytest.approx(FLOOR - BALL.radius)
    ((start, end),) = region_of_file(path, FRAMES).ranges
    assert start == pytest.approx(falls[0] / FRAME_RATE, abs=1.5 / FRAME_RATE)
    assert end == pytest.approx((falls[-1] + 1) / FRAME_RATE, abs=1.5 / FRAME_RATE)


# --- whatever moves -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(2, 320),
    busy=st.floats(0.05, 1),
    fps=st.sampled_from([0.2, 8.0, 29.97, 240.0, 12345.6]),
    size=st.sampled_from([(320, 320), (1920, 1080), (406, 720), (5000, 20)]),
)
def test_every_region_can_be_stored_and_drawn(
    seed: int, frames: int, busy: float, fps: float, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    source_index = np.sort(rng.integers(0, 2 * frames, frames))
    corners = np.sort(rng.integers(0, 33, (frames, 2, 2)), axis=1)
    magnitude, amounts = np.zeros((frames, 32, 32), np.float32), rng.uniform(0, 9, frames)
    for frame, ((left, top), (right, bottom)), amount in zip(magnitude, corners, amounts, strict=True):
        if rng.random() < busy:
            frame[top:bottom, left:right] = amount
    width, height = size
    index = tuple(source_index.tolist())
    region = region_of(magnitude, source_index=index, fps=fps, width=width, height=height)
    if region is None:
        return
    assert 1 <= len(region.ranges) <= MAX_RANGES and 2 <= len(region.keyframes) <= MAX_KEYFRAMES
    times = [time for start_and_end in region.ranges for time in start_and_end]
    assert all(before < after for before, after in pairwise(times))
    assert times[0] >= 0 and times[-1] <= (index[-1] + 1) / fps
    assert all(before.time < after.time for before, after in pairwise(region.keyframes))
    for frame in region.keyframes:
        assert 0 <= frame.x <= 1 and 0 <= frame.y <= 1 and frame.width > 0 and frame.height > 0
        assert max(frame.x + frame.width, frame.y + frame.height) <= 1 + 1e-6
    visible = {frame.time: frame.visible for frame in region.keyframes}
    assert [time for time, there in visible.items() if not there] == [end for _, end in region.ranges]
    assert all(visible[start] for start, _ in region.ranges)


def test_as_json_there_are_ranges_and_boxes() -> None:
    region = region_of(moving([[(10, 20, 50, 60)]] * 5))
    assert region is not None
    corner = {"x": 0.1, "y": 0.2, "width": 0.4, "height": 0.4}
    ends = [{"time": 0.0, **corner, "visible": True}, {"time": 0.5, **corner, "visible": False}]
    assert region.to_json() == {"ranges": [{"start": 0.0, "end": 0.5}], "boxes": [{"keyframes": ends}]}
