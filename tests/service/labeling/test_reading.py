"""What a task says: which of its annotations speaks for it, who said it, and which clip its data name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.service.labeling.label_studio.connection import LabelStudio
from motiontrace.service.labeling.label_studio.people import People
from motiontrace.service.labeling.label_studio.reading import clip_of, read_task
from tests.service.labeling.reviews import KIM, LEE, annotation, task, verdict
from tests.service.labeling.standin import TOKEN, StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIP = "left-red"


@pytest.fixture
def people(studio: StandIn) -> Iterator[People]:
    with LabelStudio(studio.url, TOKEN) as label_studio:
        yield People(label_studio)


def test_reading_says_what_is_left_out(people: People) -> None:
    broken = annotation(3, [*verdict("cartoon"), {"from_name": "action", "value": {"choices": ["burn"]}}], 5)
    reading = read_task(task(5, CLIP, broken), people)
    assert (reading.review.verdict, len(reading.review.left_out)) == ("cartoon", 1)


def test_ground_truth_speaks_before_the_newest_and_skipped_ones_do_not(people: People) -> None:
    older = annotation(3, verdict("cartoon"), 5, completed_by=KIM)
    newer = annotation(4, verdict("static"), 9, completed_by=LEE)
    newest = annotation(6, verdict("realistic"), 12, was_cancelled=True, completed_by=KIM)
    reading = read_task(task(5, CLIP, older, newer, newest), people)
    assert (reading.state[0], reading.review.verdict, reading.author) == (4, "static", "lee@example.com")
    assert reading.skipped
    reading = read_task(task(5, CLIP, older | {"ground_truth": True}, newer), people)
    assert (reading.state[0], reading.review.verdict, reading.author) == (3, "cartoon", "kim@example.com")
    assert not reading.skipped


def test_of_a_task_without_annotations_nobody_speaks_but_who_skipped_it_is_named(people: People) -> None:
    reading = read_task(task(5, CLIP, annotation(3, [], 5, was_cancelled=True, completed_by=LEE)), people)
    assert (reading.annotation, reading.state, reading.author) == (None, (None, None), "lee@example.com")
    reading = read_task(task(5, CLIP), people)
    assert (reading.annotation, reading.author, reading.skipped) == (None, "", False)


@pytest.mark.parametrize(
    ("data", "clip"),
    [({"clip_id": CLIP}, CLIP), ({"clip_id": "a\nb"}, None), ({"clip_id": 17}, None), ({}, None), (None, None)],
)
def test_a_task_shows_the_clip_that_its_data_name(data: Any, clip: str | None) -> None:
    assert clip_of({"data": data}) == clip
