"""Results of Label Studio, read as the fields of a label: nothing odd in one loses the rest of it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from motiontrace.catalog.repositories.storable import check_storable
from motiontrace.documents.labels import NewLabel
from motiontrace.documents.regions import Box, Boxes, Keyframe, Ranges, TimeRange
from motiontrace.service.labeling.label_studio.annotations import Review, frame_rate, read_review
from motiontrace.service.labeling.label_studio.predictions import Timing, rectangles, timeline

# As the editor of 1.23.2 writes it: three answers, a range and a box.
RESULT: list[dict[str, Any]] = [
    {"value": {"choices": ["unrealistic"]}, "id": "a", "from_name": "verdict", "to_name": "video", "type": "choices"},
    {"value": {"choices": ["down-weight"]}, "id": "b", "from_name": "action", "to_name": "video", "type": "choices"},
    {"value": {"text": ["slides", "twice"]}, "id": "c", "from_name": "note", "to_name": "caption", "type": "textarea"},
    {
        "value": {"ranges": [{"start": 5, "end": 16}], "timelinelabels": ["bad motion"]},
        "id": "d", "from_name": "segment", "to_name": "video", "type": "timelinelabels", "origin": "manual",
    },
    {
        "value": {
            "framesCount": 24, "duration": 3, "labels": ["moving object"],
            "sequence": [
                {"frame": 5, "enabled": True, "rotation": 0, "x": 10, "y": 20, "width": 30, "height": 40, "time": 0.62},
                {"frame": 16, "enabled": False, "rotation": 0, "x": 55, "y": 20, "width": 30, "height": 40, "time": 2},
            ],
        },
        "id": "e", "from_name": "box", "to_name": "video", "type": "videorectangle", "origin": "prediction",
    },
]  # fmt: skip
FPS = 8.0


def item(name: str, **value: Any) -> dict[str, Any]:
    return {"from_name": name, "value": value}


def corner(frame: Any, **changes: Any) -> dict[str, Any]:
    return {"frame": frame, "x": 10, "y": 20, "width": 30, "height": 40, "enabled": True, "rotation": 0} | changes


def box(*sequence: Any, **value: Any) -> Review:
    return read_review([item("box", sequence=list(sequence), **value)], FPS)


def test_what_the_editor_writes_is_read() -> None:
    review = read_review(RESULT, FPS)
    assert review == Review(
        verdict="unrealistic",
        decision="down_weight",
        note="slides\ntwice",
        ranges=(TimeRange(start=0.5, end=1.875, label="bad motion"),),
        boxes=(
            Box(
                label="moving object",
                keyframes=(
                    Keyframe(time=0.5, x=0.1, y=0.2, width=0.3, height=0.4, visible=True),
                    Keyframe(time=1.875, x=0.55, y=0.2, width=0.3, height=0.4, visible=False),
                ),
            ),
        ),
    )
    assert review.says_something


@pytest.mark.parametrize("result", [None, [], {}, [item("stars", rating=3)], [{"type": "relation"}], ["?"], [[]]])
def test_a_result_without_answers_of_ours_says_nothing(result: Any) -> None:
    review = read_review(result, FPS)
    assert review == Review()
    assert not review.says_something


def test_a_note_alone_says_nothing_of_the_clip() -> None:
    review = read_review([item("note", text="?")], FPS)
    assert (review.note, review.says_something) == ("?", False)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (item("verdict", choices=["cartoon"]), {"verdict": "cartoon"}),
        (item("verdict", choices="cartoon"), {"verdict": "cartoon"}),
        (item("verdict", choices=["a\0b\ud800"]), {"verdict": "ab?"}),
        (item("action", choices=["down_weight"]), {"decision": "down_weight"}),
        (item("action", choices=["keep"]), {"decision": "keep"}),
        (item("note", text="one line"), {"note": "one line"}),
        (item("segment", ranges=[{"start": 9, "end": 1}]), {"ranges": [(0.0, 1.0, "")]}),
        (item("segment", ranges=[{"start": None, "end": 9}], timelinelabels=["x"]), {"ranges": [(1.0, 1.0, "x")]}),
        (item("segment", ranges=[{"start": 9}], timelinelabels=["x"]), {"ranges": [(1.0, 1.0, "x")]}),
        (item("segment", ranges={"start": 0, "end": -3}, timelinelabels=[]), {"ranges": [(0.0, 0.0, "")]}),
        (
            item("segment", ranges=[{"start": 1, "end": 9}], timelinelabels=["x", "y"]),
            {"ranges": [(0.0, 1.0, "x"), (0.0, 1.0, "y")]},
        ),
    ],
)
def test_other_ways_of_writing_are_read(answer: Any, read: dict[str, Any]) -> None:
    review = read_review([answer], FPS)
    found = {name: getattr(review, name) for name in read}
    if "ranges" in read:
        found["ranges"] = [(each.start, each.end, each.label) for each in review.ranges]
    assert (found, review.left_out) == (read, ())


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (item("verdict", choices=["x" * 65]), "a verdict of more than 64 characters"),
        (item("action", choices=["maybe"]), "the decision 'maybe', which is none of keep, down-weight, drop"),
        (item("note", text=[3]), "a note that is no text"),
        ({"from_name": "box", "value": None}, "'box', which has no value"),
        (item("segment", ranges=[{"start": "soon"}]), "a range without frames"),
        (item("segment"), "a range without frames"),
        (item("box"), "a box without keyframes"),
        (item("box", sequence=[corner(None)]), "a keyframe without a frame or place; a box without keyframes"),
    ],
)
def test_what_cannot_be_read_is_told_and_loses_nothing_else(broken: Any, told: str) -> None:
    for result in ([broken, *RESULT], [*RESULT, broken]):
        review = read_review(result, FPS)
        assert "; ".join(review.left_out) == told
        whole = read_review(RESULT, FPS)
        assert (review.verdict, review.decision, review.note) == (whole.verdict, whole.decision, whole.note)
        assert (review.ranges, review.boxes) == (whole.ranges, whole.boxes)


def test_of_several_answers_the_first_one_counts() -> None:
    more = [item("verdict", choices=["static", "cartoon"]), item("action", choices=["drop", "keep"])]
    review = read_review([*more, item("verdict", choices=["static"])], FPS)
    assert (review.verdict, review.decision) == ("static", "drop")
    assert review.left_out == ("a second verdict", "a second decision")


def test_a_box_is_cut_to_the_picture() -> None:
    (found,) = box(corner(1, x=-10, y=90, width=30, height=40), labels=["ball"]).boxes
    keyframe = found.keyframes[0]
    assert (found.label, keyframe.x, keyframe.y, keyframe.width, keyframe.height) == ("ball", 0, 0.9, 0.2, 0.1)
    (found,) = box(corner(1, x=40, width=-30)).boxes
    assert (found.label, found.keyframes[0].x, found.keyframes[0].width) == ("", 0.1, 0.3)


def test_the_rotation_of_a_box_is_left_out() -> None:
    review = box(corner(1, rotation=30))
    assert review.boxes[0].keyframes[0].width == 0.3
    assert review.left_out == ("the rotation of a box",)


def test_keyframes_are_put_in_order_and_broken_ones_left_out() -> None:
    review = box(corner(9), corner(1), corner(5, x="left"), corner(True), {}, None, corner(9, x=50))
    (found,) = review.boxes
    assert [(keyframe.time, keyframe.x) for keyframe in found.keyframes] == [(0.0, 0.1), (1.0, 0.5)]
    assert review.left_out == ("a keyframe without a frame or place",)


def test_of_too_much_the_first_part_is_kept() -> None:
    long = [corner(frame) for frame in range(1, 1102)]
    result = [
        *(item("segment", ranges=[{"start": 1, "end": 2}]) for _ in range(102)),
        *(item("box", sequence=long) for _ in range(3)),
        item("note", text=["n" * 6_000, "m" * 6_000]),
    ]
    review = read_review(result, FPS)
    assert (len(review.ranges), len(review.note)) == (100, 10_000)
    assert [len(box.keyframes) for box in review.boxes] == [1000, 1000]
    assert len(review.left_out) == 3
    many = read_review([item("box", sequence=[corner(1)]) for _ in range(101)], FPS)
    assert (len(many.boxes), many.left_out) == (100, ("boxes behind the first 100",))


@pytest.mark.parametrize(
    ("data", "fps"),
    [
        ({"fps": 12}, 12),
        ({"fps": "29.97"}, 29.97),
        ({"fps": 0.04}, 25),
        ({"fps": "fast"}, 24),
        ({"fps": 0}, 24),
        ({"fps": -3}, 24),
        ({"fps": None}, 24),
        ({"fps": True}, 24),
        ({"fps": math.inf}, 24),
        ({"fps": 10**400}, 24),
        ({}, 24),
        (None, 24),
    ],
)
def test_the_frame_rate_is_read_as_the_editor_reads_it(data: Any, fps: float) -> None:
    assert frame_rate(data) == fps


def seconds_of(frames: int, fps: float) -> Any:
    return st.integers(0, frames - 1).map(lambda frame: round(frame / fps, 6))


@st.composite
def marked(draw: Any) -> tuple[Timing, list[TimeRange], list[Box]]:
    """Ranges and boxes on the frames of a clip."""
    fps, frames = draw(st.sampled_from([8.0, 12.0, 23.976, 24.0, 60.0])), draw(st.integers(2, 500))
    label = st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=64)
    moment = seconds_of(frames, fps)
    fraction = st.integers(0, 5000).map(lambda part: part / 10_000)
    keyframe = st.builds(
        Keyframe, time=moment, x=fraction, y=fraction, width=fraction, height=fraction, visible=st.booleans()
    )
    keyframes = st.lists(keyframe, min_size=1, max_size=9, unique_by=lambda each: each.time)
    ordered = keyframes.map(lambda found: tuple(sorted(found, key=lambda each: each.time)))
    ends = st.tuples(moment, moment).map(sorted)
    ranges = st.builds(lambda both, name: TimeRange(start=both[0], end=both[1], label=name), ends, label)
    return (
        Timing(fps, frames, frames / fps),
        draw(st.lists(ranges, max_size=5)),
        draw(st.lists(st.builds(Box, label=label, keyframes=ordered), max_size=3)),
    )


@given(marked())
def test_what_was_sent_comes_back(sent: tuple[Timing, list[TimeRange], list[Box]]) -> None:
    timing, ranges, boxes = sent
    written = json.loads(json.dumps([*timeline(ranges, timing), *rectangles(boxes, timing)]))
    review = read_review(written, frame_rate({"fps": timing.fps}))
    assert (list(review.ranges), list(review.boxes), review.left_out) == (ranges, boxes, ())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
VALUE = st.dictionaries(
    st.sampled_from(["choices", "text", "ranges", "timelinelabels", "labels", "sequence"]),
    ANYTHING
    | st.lists(
        st.dictionaries(
            st.sampled_from(["start", "end", "frame", "x", "y", "width", "height", "rotation", "enabled"]), ANYTHING
        ),
        max_size=4,
    ),
)
ANSWER = st.fixed_dictionaries(
    {"from_name": st.sampled_from(["verdict", "action", "note", "segment", "box", "objects", "other"]) | ANYTHING},
    optional={"value": VALUE | ANYTHING, "type": ANYTHING},
)


@given(st.lists(ANSWER | ANYTHING, max_size=6) | ANYTHING, ANYTHING)
def test_whatever_is_sent_makes_what_can_be_stored_and_served(result: Any, fps: Any) -> None:
    review = read_review([*result, *RESULT[:1]] if isinstance(result, list) else result, frame_rate({"fps": fps}))
    said = {
        "verdict": review.verdict,
        "decision": review.decision,
        "note": review.note,
        "ranges": [each.model_dump(mode="json") for each in review.ranges],
        "boxes": [each.model_dump(mode="json") for each in review.boxes],
    }
    check_storable("The label", said)
    NewLabel.model_validate(said)
    TypeAdapter(Ranges).validate_python(review.ranges)
    TypeAdapter(Boxes).validate_python(review.boxes)
    if isinstance(result, list):
        assert review.verdict is not None  # the answer that can be read is not lost
