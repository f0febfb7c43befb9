"""The columns, values and labels that a filter can name, on either database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.records import IndexRecord, LabelRecord
from motiontrace.catalog.repositories import ClipRepository, ClipRow, EntryRepository, EntryRow, IndexRepository
from motiontrace.catalog.repositories.columns import ColumnRepository
from motiontrace.catalog.spelling import hint, nearest
from tests.catalog.test_filters import NAMES, NESTED, SCALARS, label, make_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        yield session


def typed(values: list[Any]) -> set[tuple[str, Any]]:
    return {(type(value).__name__, value) for value in values}


def second_index(session: Session, clip_id: str, extra: dict[str, Any]) -> IndexRecord:
    index = IndexRepository(session).create("other", recipe="{}", recipe_digest="1" * 64, model="/m")
    ClipRepository(session).upsert([ClipRow(id=clip_id, path=f"/{clip_id}", caption="", extra=extra)])
    EntryRepository(session).publish(
        index.id, [EntryRow(clip_id=clip_id, outcome="no_motion", fingerprint="")], segment=None
    )
    return index


def test_columns_are_those_of_the_index_that_any_clip_has(session: Session) -> None:
    index = make_index(session, {"a": {"motion": "up"}, "b": {"scene": None}, "c": {}})
    other = second_index(session, "d", {"take": 3})
    assert ColumnRepository(session, index.id).names(10) == ["motion", "scene"]
    assert ColumnRepository(session, other.id).names(10) == ["take"]
    assert ColumnRepository(session, None).names(10) == ["motion", "scene", "take"]
    assert len(ColumnRepository(session, None).names(2)) == 2
    for columns, has in ((ColumnRepository(session, index.id), False), (ColumnRepository(session, None), True)):
        assert columns.has("motion")
        assert columns.has("scene")
        assert columns.has("take") == has
        assert not columns.has("Motion")


def test_names_of_all_kinds_are_found_and_only_they(session: Session) -> None:
    index = make_index(session, {f"clip-{number}": {name: 1} for number, name in enumerate(NAMES[::2])})
    columns = ColumnRepository(session, index.id)
    assert columns.names(100) == sorted(NAMES[::2])
    assert [name for name in NAMES if columns.has(name)] == NAMES[::2]


def test_values_of_all_kinds_are_given_as_they_are_and_lists_are_none(session: Session) -> None:
    # 1 and 1.0 are one number to PostgreSQL, and 1e300 is written in full.
    kept = [value for value in SCALARS if value not in (1, 1e300) or value is True]
    index = make_index(session, {f"clip-{n}": {"x": value} for n, value in enumerate([*kept, *kept, *NESTED])})
    found = ColumnRepository(session, index.id).values("x", 1000)
    assert typed(found) == typed(kept)
    assert len(found) == len(typed(kept))
    assert len(ColumnRepository(session, index.id).values("x", 3)) == 3
    assert ColumnRepository(session, index.id).values("y", 1000) == []


def test_of_some_values_those_are_given_that_any_clip_has(session: Session) -> None:
    index = make_index(
        session, {f"clip-{n}": {"x": value} for n, value in enumerate(["up", "3", True, 1.0, None, ["down"]])}
    )
    columns = ColumnRepository(session, index.id)
    assert typed(columns.values("x", 9, among=["up", "down", 3, "3", False, True, None])) == typed(
        ["up", "3", True, None]
    )
    assert columns.values("x", 9, among=[1]) == [1]
    assert columns.values("x", 9, among=[0, "1", "true", False]) == []


def test_labels_are_those_that_clips_of_the_index_have_now(session: Session) -> None:
    index = make_index(session, {"a": {}, "b": {}})
    second_index(session, "c", {})
    label(session, "a", ("cartoon", "drop"), ("realistic", None))
    label(session, "c", ("static", "keep"))
    columns = ColumnRepository(session, index.id)
    assert columns.said(LabelRecord.verdict, 9) == ["realistic"]
    assert columns.said(LabelRecord.decision, 9) == []
    assert ColumnRepository(session, None).said(LabelRecord.verdict, 9) == ["realistic", "static"]


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("motoin", ["scene", "motion"], ["motion"]),
        ("MOTION", ["scene", "motion"], ["motion"]),
        ("motion", ["Motion", "MOTION"], ["Motion"]),
        ("weather", ["scene", "motion"], []),
        ("x" * 10_000, ["x" * 10_000, "x" * 100], ["x" * 100]),
    ],
)
def test_what_is_written_alike_in_any_case_is_near(word: str, known: list[str], meant: list[str]) -> None:
    assert nearest(word, known) == meant


def test_a_hint_names_what_was_meant_and_what_there_is() -> None:
    assert hint(["cartoom"], ["real", "cartoon"]) == ': did you mean "cartoon"? There are "cartoon" and "real".'
    assert hint([3], ["3"]) == ': did you mean "3"? There is "3".'
    assert hint(["0"], [True, 2]) == ": there are 2 and true."
    assert hint(["x"], []) == "."
    assert hint(["x"], [f"value {n}" for n in range(100)]).endswith('"value 16", "value 17", ....')
