"""Clips by metadata and label, on either database, against the same filter in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import EntryRecord, IndexRecord, LabelRecord, now
from motiontrace.catalog.repositories import (
    ClipFilter,
    ClipRepository,
    ClipRow,
    EntryRepository,
    EntryRow,
    IndexRepository,
)
from motiontrace.catalog.repositories.filters import conditions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.orm import Session

    from motiontrace.catalog.repositories.filters import Scalar

# What a member may be, and what only looks like it.
SCALARS: list[Scalar] = [
    0, 1, 2, -1, 1.0, 1.5, 1e300, 2**63 - 1, -(2**63) + 1, True, False, None,
    "", "0", "1", "1.5", "true", "null", "x", "X", "é", "é", "映像", "😀", 'a"b', "a'b", "a\\b", "%", "_", "a\nb",
    '["x"]', "'; DROP TABLE clips; --",
]  # fmt: skip
NESTED: list[Any] = [[], ["x"], [1], {}, {"x": 1}, {"motion": "x"}]
NAMES = [
    "motion", "Motion", "a.b", "a", 'a"b', "a'b", "a\\b", "a:b", "é", "映像", "😀", "$", "[0]", "#-1", "*", "", " ",
    ":name", "%(name)s", "?", "key", "\x7f", "a\nb", "\u2028",
]  # fmt: skip


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        yield session


def make_index(session: Session, metadata: Mapping[str, Mapping[str, Any]]) -> IndexRecord:
    """An index of clips with this metadata, by id."""
    index = IndexRepository(session).create("demo", recipe="{}", recipe_digest="0" * 64, model="/m")
    ClipRepository(session).upsert(
        ClipRow(id=clip_id, path=f"/{clip_id}", caption="", extra=dict(extra)) for clip_id, extra in metadata.items()
    )
    entries = [EntryRow(clip_id=clip_id, outcome="indexed", fingerprint="") for clip_id in metadata]
    EntryRepository(session).publish(index.id, entries, segment="s")
    return index


def label(session: Session, clip_id: str, *said: tuple[str | None, str | None]) -> None:
    """Store a clip's labels (verdict, decision), oldest first."""
    for number, (verdict, decision) in enumerate(said, 1):
        session.add(
            LabelRecord(
                clip_id=clip_id,
                verdict=verdict,
                decision=decision,
                note="",
                author="",
                tool="test",
                current=number == len(said),
                created_at=now(),
            )
        )
    session.flush()


def same(stored: Any, wanted: Scalar) -> bool:
    """Whether two JSON values are the same: Python alone takes true for 1."""
    if isinstance(stored, bool) or isinstance(wanted, bool):
        return stored is wanted
    return bool(type(stored) in (str, int, float, type(None)) and stored == wanted)


def matches(extra: Mapping[str, Any], wanted: Mapping[str, tuple[Scalar, ...]]) -> bool:
    return all(
        name in extra and any(same(extra[name], value) for value in values) for name, values in wanted.items() if values
    )


def found(session: Session, index: IndexRecord, **wanted: Any) -> set[str]:
    """The matching ids, found in both ways that clips are found."""
    clips, filter = ClipRepository(session), ClipFilter(**wanted)
    ids = clips.ids(index.id, filter)
    assert len(ids) == len(set(ids))
    assert [clip.id for clip in clips.page(index_id=index.id, filter=filter, limit=1000).items] == sorted(ids)
    assert [clip.id for clip in clips.page(filter=filter, limit=1000).items] == sorted(ids)
    return set(ids)


def test_every_kind_of_value_is_told_from_every_other(session: Session) -> None:
    clips = {f"{number:02}": {"motion": value} for number, value in enumerate([*SCALARS, *NESTED])}
    index = make_index(session, clips | {"none": {}})
    for value in SCALARS:
        expected = {clip_id for clip_id, extra in clips.items() if same(extra["motion"], value)}
        assert expected
        assert found(session, index, metadata={"motion": (value,)}) == expected, value


def test_any_name_can_be_asked_for(session: Session) -> None:
    index = make_index(session, {f"{number:02}": {name: "x"} for number, name in enumerate(NAMES)})
    for number, name in enumerate(NAMES):
        assert found(session, index, metadata={name: ("x",)}) == {f"{number:02}"}, name
    assert found(session, index, metadata={"nobody": ("x",)}) == set()


def test_a_missing_column_is_not_null(session: Session) -> None:
    index = make_index(session, {"null": {"motion": None}, "missing": {}, "nested": {"other": {"motion": None}}})
    assert found(session, index, metadata={"motion": (None,)}) == {"null"}


def test_columns_are_anded_and_values_ored(session: Session) -> None:
    clips = {f"{a}{b}": {"a": a, "b": b} for a in "123" for b in "123"}
    index = make_index(session, clips)
    assert found(session, index, metadata={"a": ("1", "2"), "b": ("3",)}) == {"13", "23"}
    assert found(session, index, metadata={"a": ("1",), "b": ()}) == {"11", "12", "13"}
    assert found(session, index) == set(clips)


EXTRAS = st.dictionaries(st.sampled_from(NAMES[:6]), st.sampled_from([*SCALARS, *NESTED]) | st.text("ab\"'\\é"))
WANTED = st.dictionaries(
    st.sampled_from(NAMES[:7]),
    st.lists(st.sampled_from(SCALARS) | st.text("ab\"'\\é"), max_size=4).map(tuple),
    max_size=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extras=st.lists(EXTRAS, min_size=1, max_size=12), wanted=WANTED)
def test_the_database_finds_what_python_finds(
    database: Database, extras: list[dict[str, Any]], wanted: dict[str, tuple[Scalar, ...]]
) -> None:
    clips = {f"{number:02}": extra for number, extra in enumerate(extras)}
    with database.writing() as session:
        index = make_index(session, clips)
        expected = {clip_id for clip_id, extra in clips.items() if matches(extra, wanted)}
        assert found(session, index, metadata=wanted) == expected
        session.rollback()


def test_labels_count_as_they_are_now(session: Session) -> None:
    index = make_index(session, {clip_id: {} for clip_id in ("real", "cartoon", "changed", "withdrawn", "none")})
    label(session, "real", ("realistic", "keep"))
    label(session, "cartoon", ("cartoon", "drop"))
    label(session, "changed", ("cartoon", "drop"), ("realistic", None))
    label(session, "withdrawn", ("cartoon", "drop"), (None, None))
    assert found(session, index, verdict=("realistic",)) == {"real", "changed"}
    assert found(session, index, verdict=("realistic", "cartoon")) == {"real", "changed", "cartoon"}
    assert found(session, index, without_verdict=("cartoon",)) == {"real", "changed", "withdrawn", "none"}
    assert found(session, index, decision=("drop",)) == {"cartoon"}
    assert found(session, index, without_decision=("drop",)) == {"real", "changed", "withdrawn", "none"}
    assert found(session, index, verdict=("realistic",), without_decision=("keep",)) == {"changed"}


def test_metadata_and_labels_hold_together(session: Session) -> None:
    index = make_index(session, {"a": {"motion": "fall"}, "b": {"motion": "fall"}, "c": {"motion": "spin"}})
    for clip_id in "ac":
        label(session, clip_id, ("realistic", "drop"))
    assert found(session, index, metadata={"motion": ("fall",)}, verdict=("realistic",)) == {"a"}
    assert found(session, index, metadata={"motion": ("fall",)}, without_decision=("drop",)) == {"b"}


def test_only_clips_with_a_vector_in_the_index_are_given(session: Session) -> None:
    index = make_index(session, {"a": {"x": 1}, "b": {"x": 1}})
    other = IndexRepository(session).create("other", recipe="{}", recipe_digest="1" * 64, model="/m")
    entries = EntryRepository(session)
    entries.publish(index.id, [EntryRow(clip_id="b", outcome="no_motion", fingerprint="")], segment=None)
    entries.publish(other.id, [EntryRow(clip_id="b", outcome="indexed", fingerprint="")], segment="s")
    for filter in (ClipFilter(metadata={"x": (1,)}), ClipFilter(without_verdict=("cartoon",))):
        assert ClipRepository(session).ids(index.id, filter) == ["a"]
        assert ClipRepository(session).ids(other.id, filter) == ["b"]


def test_filtered_pages_follow_one_another(session: Session) -> None:
    index = make_index(session, {f"{number:02}": {"even": number % 2 == 0} for number in range(20)})
    clips, filter = ClipRepository(session), ClipFilter(metadata={"even": (True,)})
    for index_id in (index.id, None):
        seen, after = [], None
        while True:
            page = clips.page(index_id=index_id, filter=filter, after=after, limit=3)
            seen += [clip.id for clip in page.items]
            if (after := page.next) is None:
                break
        assert seen == [f"{number:02}" for number in range(0, 20, 2)]


@pytest.mark.parametrize(
    "wanted",
    [
        {"metadata": {"a\0": ("x",)}},
        {"metadata": {"a": ("\0",)}},
        {"metadata": {"a": ("\ud800",)}},
        {"metadata": {"a": (float("nan"),)}},
        {"metadata": {"a": (2**63,)}},
        {"verdict": ("\0",)},
    ],
)
def test_what_the_catalog_cannot_hold_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="The filter"):
        ClipFilter(**wanted)


def test_an_index_on_the_metadata_can_answer(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.writing() as session:
        make_index(session, {"a": {"motion": "fall"}})
        session.execute(text("CREATE INDEX by_extra ON entries USING gin (extra jsonb_path_ops)"))
        session.execute(text("SET LOCAL enable_seqscan = off"))

        @event.listens_for(session.connection(), "before_cursor_execute", retval=True)
        def explain(*call: Any) -> tuple[str, Any]:
            return f"EXPLAIN {call[2]}", call[3]

        wanted = ClipFilter(metadata={"motion": ("fall", "spin")})
        plan = session.scalars(select(EntryRecord.caption).where(*conditions(session, wanted, EntryRecord))).all()
        session.rollback()
    database.close()
    assert any("by_extra" in line for line in plan), plan
