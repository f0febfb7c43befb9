"""What choosing clips reads of them, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.repositories import (
    CandidateRepository,
    ClipRepository,
    ClipRow,
    EntryRepository,
    EntryRow,
    IndexRepository,
    LabelRepository,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database

# Code points order these B < a < ä < 映; an English database would say a < ä < B.
EXTRAS: dict[str, dict[str, Any]] = {
    "B": {"scene": "night", "n": 1},
    "a": {"scene": "day", "n": 1.5, "tags": ["x"]},
    "c": {"scene": None},
    "ä": {"scene": "näch\"t'", "n": True, 'wei"rd.$[0]': "found"},
    "映": {"n": False, "scene": {"of": "two"}},
}
WEIRD = 'wei"rd.$[0]'


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        yield session


@pytest.fixture
def candidates(session: Session) -> CandidateRepository:
    """Of an index of the clips above; another index has one of them, and one of its own."""
    clips, entries, indexes = ClipRepository(session), EntryRepository(session), IndexRepository(session)
    clips.upsert(
        ClipRow(id=clip_id, path=f"/{clip_id}.mp4", caption=f"clip {clip_id}", bytes=7, extra=extra)
        for clip_id, extra in {**EXTRAS, "other": {"scene": "day"}, "still": {}, "broken": {}}.items()
    )
    index, other = (indexes.create(name, recipe="{}", recipe_digest="0" * 64, model="/m") for name in ("one", "two"))
    for of, ids in ((index, list(EXTRAS)), (other, ["a", "other"])):
        rows = [EntryRow(clip_id=clip_id, outcome="indexed", fingerprint="f") for clip_id in ids]
        entries.publish(of.id, rows, segment="s")
    rows = [
        EntryRow(clip_id=f"{name}", outcome=outcome, fingerprint="f")  # type: ignore[arg-type]
        for name, outcome in (("still", "no_motion"), ("broken", "failed"))
    ]
    entries.publish(index.id, rows, segment=None)
    return CandidateRepository(session, index.id)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scene", {"B": "night", "a": "day", "ä": "näch\"t'"}),
        ("n", {"B": 1, "a": 1.5, "ä": True, "映": False}),
        (WEIRD, {"ä": "found"}),
        ("tags", {}),
        ("unknown", {}),
    ],
)
def test_a_column_is_given_as_it_was_in_the_manifest(
    candidates: CandidateRepository, name: str, expected: dict[str, Any]
) -> None:
    found = dict(candidates.values(name, "B", "映"))
    assert found == expected
    assert {clip_id: type(value) for clip_id, value in found.items()} == {
        key: type(each) for key, each in expected.items()
    }


def test_ranges_are_in_the_order_of_code_points(candidates: CandidateRepository, session: Session) -> None:
    assert dict(candidates.values("n", "B", "a")) == {"B": 1, "a": 1.5}
    assert dict(candidates.values("n", "b", "ä")) == {"ä": True}
    labels = LabelRepository(session)
    for clip_id in ("B", "c", "映"):
        labels.put(clip_id, verdict=None, decision="drop", tool="api")
    assert set(candidates.decisions("B", "c")) == {"B", "c"}
    assert set(candidates.decisions("a", "ä")) == {"c"}


def test_the_decision_that_holds_now_is_given(candidates: CandidateRepository, session: Session) -> None:
    labels = LabelRepository(session)
    labels.put("a", verdict="bad", decision="drop", tool="api")
    labels.put("a", verdict="good", decision="keep", tool="api")
    labels.put("B", verdict="good", decision=None, tool="api")
    labels.put("c", verdict=None, decision="down_weight", tool="api")
    labels.put("ä", verdict=None, decision="drop", tool="api")
    labels.put("ä", verdict=None, decision=None, tool="api", note="withdrawn")
    assert candidates.decisions("B", "映") == {"a": "keep", "c": "down_weight"}


def test_outcomes_are_counted_and_still_clips_listed(candidates: CandidateRepository) -> None:
    assert candidates.counts() == {"indexed": 5, "no_motion": 1, "failed": 1}
    assert candidates.still() == ["still"]


def test_files_of_clips_are_given_with_what_the_manifest_said(candidates: CandidateRepository) -> None:
    found = candidates.files(["ä", "unknown", "a"])
    assert set(found) == {"a", "ä"}
    assert found["ä"]._asdict() == {"path": "/ä.mp4", "bytes": 7, "caption": "clip ä", "metadata": EXTRAS["ä"]}
    assert list(candidates.files(f"{number}" for number in range(6000))) == []


def test_nothing_is_read_of_an_index_that_has_nothing(session: Session) -> None:
    index = IndexRepository(session).create("empty", recipe="{}", recipe_digest="0" * 64, model="/m")
    empty = CandidateRepository(session, index.id)
    assert empty.counts() == {"indexed": 0, "no_motion": 0, "failed": 0}
    assert (empty.still(), dict(empty.values("a", "", "z"))) == ([], {})
