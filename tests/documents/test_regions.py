"""Ranges and boxes: what is one and what cannot be."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from motiontrace.documents.regions import (
    IMPOSSIBLE,
    MAX_BOX_KEYFRAMES,
    MAX_BOXES,
    MAX_KEYFRAMES,
    MAX_RANGES,
    MAX_SECONDS,
    TOLERANCE,
    Box,
    Boxes,
    Keyframe,
    Ranges,
    TimeRange,
    last_moments,
)

RANGES: TypeAdapter[tuple[TimeRange, ...]] = TypeAdapter(Ranges)
BOXES: TypeAdapter[tuple[Box, ...]] = TypeAdapter(Boxes)
AT: dict[str, Any] = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
MOMENTS = st.floats(0, MAX_SECONDS, allow_nan=False)
FRACTIONS = st.floats(0, 1, allow_nan=False)


def keyframes(count: int) -> list[dict[str, Any]]:
    return [{"time": number, **AT} for number in range(count)]


def refused(model: Any, value: Any) -> list[tuple[str, str]]:
    """The type and place of each error."""
    with pytest.raises(ValidationError) as error:
        model(value)
    return [(each["type"], ".".join(map(str, each["loc"]))) for each in error.value.errors()]


@given(MOMENTS, MOMENTS)
def test_a_range_ends_where_it_starts_or_later(one: float, other: float) -> None:
    start, end = sorted((one, other))
    assert TimeRange(start=start, end=end, label="").end == end
    if start < end:
        assert refused(TimeRange.model_validate, {"start": end, "end": start, "label": ""}) == [(IMPOSSIBLE, "")]


@given(x=FRACTIONS, y=FRACTIONS, width=FRACTIONS, height=FRACTIONS)
def test_a_box_is_within_the_picture(**box: float) -> None:
    outside = max(box["x"] + box["width"], box["y"] + box["height"]) - 1
    assume(abs(outside - TOLERANCE) > 1e-12)
    if outside < TOLERANCE:
        keyframe = Keyframe(time=0, **box)
        assert Keyframe.model_validate_json(keyframe.model_dump_json()) == keyframe
    else:
        assert refused(Keyframe.model_validate, {"time": 0, **box}) == [(IMPOSSIBLE, "")]


@given(FRACTIONS, st.integers(1, 1000))
def test_rounding_alone_makes_no_box_impossible(x: float, parts: int) -> None:
    """As tools compute it: percents of the picture, the width being what is left of it."""
    percent, left = x * 100, (1 - x) * 100
    Keyframe(time=0, x=percent / 100, y=1 - 1 / parts, width=left / 100, height=sum([1 / parts / 10] * 10))


@given(st.lists(MOMENTS, min_size=1, max_size=20))
def test_the_times_of_keyframes_increase(moments: list[float]) -> None:
    box = {"label": "ball", "keyframes": [{"time": moment, **AT} for moment in moments]}
    if all(before < after for before, after in pairwise(moments)):
        assert [keyframe.time for keyframe in Box.model_validate(box).keyframes] == moments
    else:
        assert refused(Box.model_validate, box) == [(IMPOSSIBLE, "keyframes")]


def test_a_keyframe_is_visible_unless_it_says_otherwise() -> None:
    assert Keyframe(time=0, **AT).visible
    assert not Keyframe(time=0, **AT, visible=False).visible


@pytest.mark.parametrize("value", [-0.001, MAX_SECONDS + 1, float("nan"), float("inf"), "1", True, None])
def test_a_moment_is_a_number_of_seconds(value: Any) -> None:
    assert [place for _, place in refused(Keyframe.model_validate, {"time": value, **AT})] == ["time"]
    whole = {"start": 0.0, "end": MAX_SECONDS, "label": ""}
    for name in ("start", "end"):
        assert [place for _, place in refused(TimeRange.model_validate, {**whole, name: value})] == [name]


@pytest.mark.parametrize("name", ["x", "y", "width", "height"])
@pytest.mark.parametrize("value", [-1e-9, 1.0001, 50, float("nan"), "0.5", False])
def test_a_place_is_a_fraction_of_the_picture(name: str, value: Any) -> None:
    fields = {"time": 0, "x": 0, "y": 0, "width": 0, "height": 0, name: value}
    assert [place for _, place in refused(Keyframe.model_validate, fields)] == [name]


@pytest.mark.parametrize("value", ["x" * 65, "a\0b", 1])
def test_a_word_on_a_region_is_a_short_text(value: Any) -> None:
    assert [place for _, place in refused(TimeRange.model_validate, {"start": 0, "end": 1, "label": value})] == [
        "label"
    ]
    assert [place for _, place in refused(Box.model_validate, {"label": value, "keyframes": keyframes(1)})] == ["label"]


def test_what_a_region_does_not_have_is_refused() -> None:
    extra = ("extra_forbidden", "colour")
    assert refused(TimeRange.model_validate, {"start": 0, "end": 1, "label": "", "colour": 1}) == [extra]
    assert refused(Keyframe.model_validate, {"time": 0, **AT, "colour": 1}) == [extra]
    assert refused(Box.model_validate, {"label": "", "keyframes": keyframes(1), "colour": 1}) == [extra]
    assert refused(Keyframe.model_validate, {"time": 0, **AT, "visible": 1}) == [("bool_type", "visible")]


def test_the_numbers_of_regions_are_bounded() -> None:
    one = {"start": 0, "end": 1, "label": ""}
    assert len(RANGES.validate_python([one] * MAX_RANGES)) == MAX_RANGES == 100
    assert refused(RANGES.validate_python, [one] * (MAX_RANGES + 1)) == [("too_long", "")]
    box = {"label": "", "keyframes": keyframes(1)}
    assert len(BOXES.validate_python([box] * MAX_BOXES)) == MAX_BOXES == 100
    assert refused(BOXES.validate_python, [box] * (MAX_BOXES + 1)) == [("too_long", "")]
    assert len(Box.model_validate({"label": "", "keyframes": keyframes(MAX_BOX_KEYFRAMES)}).keyframes) == 1000
    for count in (0, MAX_BOX_KEYFRAMES + 1):
        kind = "too_long" if count else "too_short"
        assert refused(Box.model_validate, {"label": "", "keyframes": keyframes(count)}) == [(kind, "keyframes")]


def test_the_keyframes_of_all_boxes_together_are_bounded() -> None:
    box = {"label": "", "keyframes": keyframes(MAX_BOX_KEYFRAMES)}
    assert len(BOXES.validate_python([box] * (MAX_KEYFRAMES // MAX_BOX_KEYFRAMES))) == 2
    with pytest.raises(ValidationError, match="2,000 keyframes together at most, these have 2,001"):
        BOXES.validate_python([box, box, {"label": "", "keyframes": keyframes(1)}])


def test_a_long_list_of_broken_regions_makes_few_errors() -> None:
    assert len(refused(BOXES.validate_python, [{}] * 100)) == 2
    assert len(refused(BOXES.validate_python, [{"label": "", "keyframes": [{}] * 1000}] * 100)) == 5
    assert len(refused(RANGES.validate_python, [{}] * 100)) == 3


def test_regions_are_read_as_they_were_written() -> None:
    boxes = BOXES.validate_python([{"label": "ball", "keyframes": keyframes(3)}])
    written = json.loads(json.dumps([box.model_dump(mode="json") for box in boxes]))
    assert BOXES.validate_python(written) == boxes
    assert written[0]["keyframes"][2] == {"time": 2.0, **AT, "visible": True}


def test_the_last_moments_are_told_by_the_name_of_their_field() -> None:
    ranges = RANGES.validate_python([{"start": 0, "end": 1, "label": ""}, {"start": 3, "end": 4, "label": ""}])
    boxes = BOXES.validate_python([{"label": "", "keyframes": keyframes(3)}])
    assert list(last_moments(ranges, boxes)) == [
        ("ranges.0.end", 1),
        ("ranges.1.end", 4),
        ("boxes.0.keyframes.2.time", 2),
    ]
