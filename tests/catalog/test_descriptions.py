"""What an index was told of its clips is its own, whatever other indexes of the same clips are told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.repositories import (
    CandidateRepository,
    ClipFilter,
    ClipRepository,
    ClipRow,
    EntryRepository,
    EntryRow,
)
from motiontrace.catalog.repositories.descriptions import same_json
from motiontrace.catalog.repositories.indexes import IndexRepository

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database


def row(name: str, caption: str, **extra: Any) -> ClipRow:
    return ClipRow(id="a", path=f"/{name}/a.mp4", caption=caption, sha256="0" * 64, bytes=7, modified_ns=5, extra=extra)


FIRST, SECOND = row("first", "a ball falls", split="train", x=1), row("second", "a car turns", split="test", y=2)


def publish(session: Session, index: int, told: ClipRow) -> None:
    ClipRepository(session).upsert([told])
    entry = EntryRow(clip_id=told.id, outcome="indexed", fingerprint="f")
    EntryRepository(session).publish(index, [entry], segment="s")


@pytest.fixture
def told(database: Database) -> tuple[int, int]:
    """The ids of two indexes of the same clip that were told otherwise of it, the second one later."""
    with database.writing() as session:
        indexes = IndexRepository(session)
        first, second = (
            indexes.create(name, recipe="{}", recipe_digest="d" * 64, model="/m").id for name in ("first", "second")
        )
        publish(session, first, FIRST)
        publish(session, second, SECOND)
    return first, second


def test_an_index_shows_what_it_was_told_whatever_another_one_was(database: Database, told: tuple[int, int]) -> None:
    with database.reading() as session:
        clips = ClipRepository(session)
        for index, said in zip(told, (FIRST, SECOND), strict=True):
            shown, detailed = clips.described(["a"], index)["a"], clips.detailed(["a"], index)["a"]
            file = CandidateRepository(session, index).files(["a"])["a"]
            for found in (shown, detailed, file):
                assert (found.path, found.caption, found.metadata) == (said.path, said.caption, said.extra)
            assert EntryRepository(session).files(index).keys() == {said.path}
        last = clips.get("a")
        assert last is not None
        assert (last.path, last.caption, last.extra) == (SECOND.path, SECOND.caption, SECOND.extra)


def test_filters_search_and_columns_look_at_the_index_that_is_asked(database: Database, told: tuple[int, int]) -> None:
    train, test = (ClipFilter(metadata={"split": (value,)}) for value in ("train", "test"))
    with database.reading() as session:
        clips = ClipRepository(session)
        assert [[clips.ids(index, each) for each in (train, test)] for index in told] == [[["a"], []], [[], ["a"]]]
        for index, mine, other in ((told[0], train, test), (told[1], test, train)):
            assert [len(clips.page(index_id=index, filter=each).items) for each in (mine, other)] == [1, 0]
        assert [len(clips.page(index_id=index, search="ball").items) for index in told] == [1, 0]
        # Of no index: as it was told last.
        assert [len(clips.page(search=text).items) for text in ("ball", "car")] == [0, 1]
        assert [len(clips.page(filter=each).items) for each in (train, test)] == [0, 1]
        values = [dict(CandidateRepository(session, index).values("split", "a", "a")) for index in told]
        assert values == [{"a": "train"}, {"a": "test"}]


def test_a_clip_that_left_an_index_is_shown_as_it_was_told_last(database: Database, told: tuple[int, int]) -> None:
    with database.writing() as session:
        EntryRepository(session).forget(told[0], ["a"])
    with database.reading() as session:
        assert ClipRepository(session).described(["a"], told[0])["a"].caption == SECOND.caption
        assert CandidateRepository(session, told[0]).files(["a"]) == {}


def test_an_index_is_told_anew_without_touching_another(database: Database, told: tuple[int, int]) -> None:
    moved = row("moved", FIRST.caption, **FIRST.extra)
    with database.writing() as session:
        entries = EntryRepository(session)
        before = entries.get_many(told[0], ["a"])["a"].described_at
        assert entries.refresh(told[0], [FIRST]) == set()
        assert entries.get_many(told[0], ["a"])["a"].described_at == before
        assert entries.refresh(told[0], [moved, replace(moved, id="b")]) == {"a"}
    with database.reading() as session:
        first, second = (EntryRepository(session).get_many(index, ["a"])["a"] for index in told)
        assert (first.path, second.path) == (moved.path, SECOND.path)
        assert first.described_at > before


def test_a_file_that_was_only_touched_is_told_as_the_same(database: Database, told: tuple[int, int]) -> None:
    touched = replace(FIRST, modified_ns=6)
    with database.writing() as session:
        assert EntryRepository(session).refresh(told[0], [touched]) == set()
    with database.reading() as session:
        assert EntryRepository(session).files(told[0])[FIRST.path][0].modified_ns == 6


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        ("1", 1, False),
        ({"a": [1, {"b": True}]}, {"a": [1, {"b": True}]}, True),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [1], False),
        ([], {}, False),
        (1e22, 10**22, True),
    ],
)
def test_metadata_is_compared_as_json(one: Any, other: Any, same: bool) -> None:
    assert same_json(one, other) is same_json(other, one) is same
