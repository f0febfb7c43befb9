"""What tasks show beforehand: suggested verdicts, and motion on the timeline and in the picture."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.documents.regions import Box, Keyframe, TimeRange
from motiontrace.service.labeling.label_studio.annotations import frame_rate, read_review
from motiontrace.service.labeling.label_studio.predictions import Timing, prediction, rectangles, timeline
from motiontrace.service.labeling.label_studio.setup import Setup
from tests.service.labeling.projects import PROJECT

SETUP = Setup.of(PROJECT)
REGION: dict[str, Any] = {
    "ranges": [{"start": 0.5, "end": 1.0}],
    "boxes": [
        {
            "keyframes": [
                {"time": 0.5, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "visible": True},
                {"time": 1.0, "x": 0.5, "y": 0.2, "width": 0.3, "height": 0.4, "visible": False},
            ]
        }
    ],
}
RATES = st.one_of(st.sampled_from([8.0, 12.5, 24.0, 30000 / 1001, 60.0]), st.floats(1, 240))


@st.composite
def clips(draw: st.DrawFn) -> Timing:
    fps = draw(RATES)
    frames = draw(st.integers(1, 5000))
    return Timing(fps, frames, frames / fps)


def moments(timing: Timing) -> st.SearchStrategy[float]:
    """Any moment at which a frame of the clip begins, or between two."""
    assert timing.frames is not None
    return st.floats(0, (timing.frames - 1) / timing.fps)


@given(st.data())
def test_a_range_comes_back_within_half_a_frame(data: st.DataObject) -> None:
    timing = data.draw(clips())
    start, end = sorted(data.draw(st.tuples(moments(timing), moments(timing))))
    result = timeline([TimeRange(start=start, end=end, label="bad motion")], timing)
    (back,) = read_review(result, frame_rate({"fps": timing.fps})).ranges
    assert back.label == "bad motion"
    assert close(back.start, start, timing)
    assert close(back.end, end, timing)


@given(st.data())
def test_a_box_comes_back_within_half_a_frame_and_a_thousandth_of_the_picture(data: st.DataObject) -> None:
    timing = data.draw(clips())
    times = sorted(data.draw(st.sets(moments(timing), min_size=1, max_size=20)))
    box = Box(label="moving object", keyframes=tuple(data.draw(keyframes(time)) for time in times))
    (back,) = read_review(rectangles([box], timing), frame_rate({"fps": timing.fps})).boxes
    assert back.label == box.label
    assert len({keyframe.time for keyframe in back.keyframes}) == len(back.keyframes)
    last_of_frame = {timing.frame(keyframe.time): keyframe for keyframe in box.keyframes}
    assert len(back.keyframes) == len(last_of_frame)
    for found, drawn in zip(back.keyframes, last_of_frame.values(), strict=True):
        assert close(found.time, drawn.time, timing)
        assert found.visible == drawn.visible
        for name in ("x", "y", "width", "height"):
            assert math.isclose(getattr(found, name), getattr(drawn, name), abs_tol=1e-3)


@st.composite
def keyframes(draw: st.DrawFn, time: float) -> Keyframe:
    x, y = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    width, height = draw(st.floats(0, 1 - x)), draw(st.floats(0, 1 - y))
    return Keyframe(time=time, x=x, y=y, width=width, height=height, visible=draw(st.booleans()))


def close(found: float, drawn: float, timing: Timing) -> bool:
    return abs(found - drawn) <= 0.5 / timing.fps + 1e-6


def test_the_first_frame_is_1_and_the_last_is_the_last_of_the_clip() -> None:
    timing = Timing(8.0, 24, 3.0)
    assert [timing.frame(moment) for moment in (0.0, 0.125, 2.875, 3.0, 99.0)] == [1, 2, 24, 24, 24]
    assert Timing(8.0, None, None).frame(99.0) == 793


def test_a_prediction_has_verdict_timeline_and_box() -> None:
    made = prediction(SETUP, Timing(8.0, 24, 3.0), verdict="realistic", region=REGION, score=0.5)
    assert made is not None
    assert (made["model_version"], made["score"]) == ("motiontrace", 0.75)
    verdict, segment, box = made["result"]
    assert (verdict["from_name"], verdict["to_name"], verdict["type"]) == ("verdict", "video", "choices")
    assert verdict["value"] == {"choices": ["realistic"]}
    assert (segment["from_name"], segment["type"]) == ("segment", "timelinelabels")
    assert segment["value"] == {"ranges": [{"start": 5, "end": 9}], "timelinelabels": ["influential motion"]}
    assert (box["from_name"], box["type"]) == ("box", "videorectangle")
    assert box["value"]["labels"] == ["moving object"]
    assert (box["value"]["framesCount"], box["value"]["duration"]) == (24, 3.0)
    assert box["value"]["sequence"] == [
        {"frame": 5, "enabled": True, "rotation": 0, "time": 0.625, "x": 10, "y": 20, "width": 30, "height": 40},
        {"frame": 9, "enabled": False, "rotation": 0, "time": 1.125, "x": 50, "y": 20, "width": 30, "height": 40},
    ]
    assert len({item["id"] for item in made["result"]}) == 3


@pytest.mark.parametrize(
    ("influence", "score"), [(-1.4, 0.0), (-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (1.0, 1.0), (1.2, 1.0)]
)
def test_influence_is_told_on_label_studios_scale_of_0_to_1(influence: float, score: float) -> None:
    made = prediction(SETUP, Timing(8.0, 24, 3.0), verdict="realistic", region=None, score=influence)
    assert made is not None
    assert made["score"] == score


def test_what_the_projects_set_up_does_not_offer_is_not_predicted() -> None:
    bare = Setup(verdicts=("good",), segments=("walking",), boxes=())
    timing = Timing(8.0, 24, 3.0)
    assert prediction(bare, timing, verdict="realistic", region=REGION, score=0.5) is None
    made = prediction(bare, timing, verdict="good", region=REGION, score=0.5)
    assert made is not None
    assert [item["from_name"] for item in made["result"]] == ["verdict"]


@pytest.mark.parametrize("region", [None, {}, {"ranges": [], "boxes": []}])
def test_a_clip_whose_motion_is_not_known_has_no_regions(region: Any) -> None:
    assert prediction(SETUP, Timing(8.0, 24, 3.0), verdict=None, region=region, score=0.5) is None


def test_a_prediction_survives_the_way_back_as_a_label() -> None:
    made = prediction(SETUP, Timing(8.0, 24, 3.0), verdict="cartoon", region=REGION, score=0.5)
    assert made is not None
    review = read_review(made["result"], frame_rate({"fps": 8.0}))
    assert review.left_out == ()
    assert review.verdict == "cartoon"
    assert [(each.start, each.end) for each in review.ranges] == [(0.5, 1.0)]
    assert [(each.time, each.x, each.visible) for each in review.boxes[0].keyframes] == [
        (0.5, 0.1, True),
        (1, 0.5, False),
    ]
