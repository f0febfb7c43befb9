"""From seconds to frames."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.formats.timeline import Timeline

TWELVE = Timeline(frames=12, fps=12.0)


def at(seconds: float, x: float = 0.0, *, visible: bool = True, **more: float) -> dict[str, Any]:
    return {"time": seconds, "x": x, "y": 0.25, "width": 0.5, "height": 0.5, "visible": visible} | more


def places(*keyframes: dict[str, Any], timeline: Timeline = TWELVE) -> dict[int, float]:
    """The left edge of the box by frame."""
    return {each.frame: each.x for each in timeline.rectangles(keyframes)}


@pytest.mark.parametrize(("seconds", "frame"), [(0, 0), (1 / 12, 1), (0.12, 1), (0.13, 2), (11 / 12, 11), (1.0, 11)])
def test_a_time_is_the_frame_that_begins_nearest_to_it(seconds: float, frame: int) -> None:
    assert TWELVE.frame(seconds) == frame


@given(st.integers(1, 5000), st.floats(0.1, 240))
def test_each_frames_time_is_that_frame(frames: int, fps: float) -> None:
    timeline = Timeline(frames, fps)
    assert all(timeline.frame(number / fps) == number for number in (0, frames // 3, frames - 1))
    assert timeline.span({"start": 0.0, "end": frames / fps}) == (0, frames - 1)


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (0.25, 0.5, (3, 5)),  # the frame at 0.5 s moves no more
        (0.5, 11 / 12, (6, 10)),
        (0.5, 1.0, (6, 11)),  # the clip ends while it moves
        (0.0, 1.0, (0, 11)),
        (0.25, 0.26, (3, 3)),
        (11 / 12, 1.0, (11, 11)),
        (1.0, 1.0, (11, 11)),
    ],
)
def test_what_moves_until_a_frame_does_not_move_in_it(start: float, end: float, frames: tuple[int, int]) -> None:
    assert TWELVE.moving({"start": start, "end": end}) == frames


@given(st.integers(1, 5000), st.floats(0.1, 240), st.data())
def test_a_motion_range_has_the_frames_that_its_box_is_seen_in(frames: int, fps: float, data: st.DataObject) -> None:
    timeline = Timeline(frames, fps)
    start = data.draw(st.integers(0, frames - 1))
    end = data.draw(st.integers(start + 1, frames))
    first, last = timeline.moving({"start": start / fps, "end": end / fps})
    assert (first, last) == (start, end - 1)
    seen = [each.frame for each in timeline.rectangles([at(start / fps), at(end / fps, visible=False)])]
    assert seen == list(range(first, last + 1))


def test_between_keyframes_a_box_moves_evenly_and_then_it_stays() -> None:
    found = places(at(0.25, 0.0), at(0.5, 0.3))
    assert found == pytest.approx({3: 0.0, 4: 0.1, 5: 0.2} | dict.fromkeys(range(6, 12), 0.3))


def test_a_box_is_gone_from_a_keyframe_that_ends_it_until_it_is_back() -> None:
    found = places(at(0.0), at(0.25, 0.3, visible=False), at(0.5, 0.5), at(0.75, 0.5, visible=False))
    assert found == pytest.approx({0: 0.0, 1: 0.1, 2: 0.2, 6: 0.5, 7: 0.5, 8: 0.5})


def test_a_keyframe_that_ends_a_box_with_the_clip_leaves_it_in_the_last_frame() -> None:
    assert list(places(at(0.5), at(1.0, visible=False))) == list(range(6, 12))
    assert list(places(at(11 / 12), at(11 / 12 + 0.01, visible=False))) == [11]


def test_each_time_that_a_box_is_seen_takes_a_frame_at_least() -> None:
    assert list(places(at(0.5), at(0.51, visible=False))) == [6]
    assert list(places(at(0.5), at(0.51, visible=False), at(0.52, 0.4), at(0.53, visible=False))) == [6, 7]
    assert places(at(0.5), at(0.51, 0.4), at(0.58, visible=False)) == {6: 0.4}


def test_keyframes_behind_the_end_mean_the_last_frame() -> None:
    assert places(at(0.5, 0.0), at(9.0, 0.5)) == pytest.approx({6 + step: step / 10 for step in range(6)})
    assert places(at(5.0, 0.1), at(6.0, 0.2)) == {11: 0.2}
    assert places(at(5.0, visible=False)) == {}


def test_no_box_leaves_the_picture() -> None:
    (box, *_) = TWELVE.rectangles([at(0.0, 0.5, width=0.5000009, y=0.6, height=0.4000009)])
    assert (box.x + box.width, box.y + box.height) == (1.0, 1.0)


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=8, unique_by=lambda each: each[0]))
def test_a_box_is_once_in_a_frame_and_the_frames_go_on(times: list[tuple[float, bool]]) -> None:
    keyframes = [at(seconds, visible=visible) for seconds, visible in sorted(times)]
    found = [each.frame for each in TWELVE.rectangles(keyframes)]
    assert found == sorted(set(found))
    assert set(found) <= set(range(12))
    known = [each.frame for each, _ in TWELVE.keyframes(keyframes)]
    assert known == sorted(set(known))
