from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError, IndexExistsError, UnknownIndexError
from motiontrace.catalog.records import IndexRecord, Outcome
from motiontrace.catalog.repositories import (
    ClipRepository,
    ClipRow,
    EntryRepository,
    EntryRow,
    Fingerprint,
    IndexRepository,
    KnownFile,
    OtherUse,
)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        yield session


@pytest.fixture
def index(session: Session) -> IndexRecord:
    return IndexRepository(session).create("demo", recipe="{}", recipe_digest="0" * 64, model="/m")


def clip(clip_id: str, caption: str = "a ball") -> ClipRow:
    return ClipRow(id=clip_id, path=f"/{clip_id}.mp4", caption=caption, sha256="0" * 64, bytes=3 << 30)


def entry(clip_id: str, outcome: str = "indexed", **more: object) -> EntryRow:
    return EntryRow(clip_id=clip_id, outcome=outcome, fingerprint="f" * 64, **more)  # type: ignore[arg-type]


# Code points order these B < a < ä < 映; an English database would say a < ä < B.
IDS = ["B", "a", "c-1", "c-10", "c-2", "ä", "映像"]


def test_clips_are_stored_whole_and_replaced_whole(session: Session) -> None:
    clips = ClipRepository(session)
    first = ClipRow(id="a", path="/a", caption="x", extra={"tags": ["ü", 1, None]}, width=4, seconds=0.1)
    clips.upsert([first])
    stored = clips.get("a")
    assert stored is not None
    assert (stored.extra, stored.width, stored.seconds) == ({"tags": ["ü", 1, None]}, 4, 0.1)
    created = stored.created_at
    session.expire_all()
    clips.upsert([clip("a", "y"), clip("b")])
    again = clips.get("a")
    assert again is not None
    assert (again.caption, again.width, again.extra, again.bytes) == ("y", None, {}, 3 << 30)
    assert again.created_at == created < again.updated_at
    assert clips.get("c") is None
    clips.upsert([])


@pytest.mark.parametrize("bad", ["", "x" * 201, "a/b", ".", "..", " a", "a\n", "a\x00", "\ud800"])
def test_an_id_that_cannot_be_part_of_an_address_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="The clip id"):
        clip(bad)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"x": float("nan")}, "the number nan"),
        ({"x": [{"y": float("-inf")}]}, "the number -inf"),
        ({"x": {1, 2}}, "a set, which is no JSON"),
        ({1: 2}, "the key 1"),
        ({"x": ["\x00"]}, "null character"),
        ({"\x00": 1}, "null character"),
        ({"x": "a\ud800"}, r"character 2 is '\\ud800'"),
    ],
)
def test_metadata_that_is_no_json_is_refused(extra: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=f"The metadata has {says}|The metadata .*{says}"):
        ClipRow(id="a", path="/a", caption="", extra=extra)


@pytest.mark.parametrize("bad", ["x\x00", "x\udcff"])
def test_text_that_no_database_takes_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="The caption"):
        clip("a", bad)
    with pytest.raises(ValueError, match="The path"):
        ClipRow(id="a", path=bad, caption="")
    with pytest.raises(ValueError, match="The reason"):
        entry("a", "failed", reason=bad)


def test_what_is_storable_comes_back_as_it_was(session: Session) -> None:
    extra = {"escape": "\\u0000", "deep": [{"ü": None}, 1 << 60, True, 0.5], "映": "😀"}
    ClipRepository(session).upsert([ClipRow(id="a", path="/a", caption="\\u0000 \\ud800", extra=extra)])
    session.expire_all()
    stored = ClipRepository(session).get("a")
    assert stored is not None
    assert (stored.caption, stored.extra) == ("\\u0000 \\ud800", extra)


def test_what_is_told_anew_of_a_clip_leaves_what_was_decoded_and_makes_no_clip(session: Session) -> None:
    clips = ClipRepository(session)
    clips.upsert([replace(clip("a"), codec="h264"), clip("same")])
    before = {clip_id: found.updated_at for clip_id, found in clips.get_many(["a", "same"]).items()}
    clips.refresh([ClipRow(id="a", path="/new", caption="", extra={"x": 1}, modified_ns=5), clip("same"), clip("b")])
    session.flush()
    session.expire_all()
    found = clips.get_many(["a", "same", "b"])
    assert sorted(found) == ["a", "same"]
    assert (found["a"].path, found["a"].extra, found["a"].modified_ns) == ("/new", {"x": 1}, 5)
    assert (found["a"].caption, found["a"].codec) == ("", "h264")
    assert found["a"].updated_at > before["a"]
    assert found["same"].updated_at == before["same"]


def test_many_clips_are_found_by_id(session: Session) -> None:
    clips = ClipRepository(session)
    clips.upsert(clip(f"{number:05}") for number in range(6000))
    found = clips.get_many([f"{number:05}" for number in range(5990, 12_000)])
    assert sorted(found) == [f"{number:05}" for number in range(5990, 6000)]
    assert found["05995"].path == "/05995.mp4"


def test_pages_go_through_all_clips_in_the_order_of_code_points(session: Session) -> None:
    clips = ClipRepository(session)
    clips.upsert(clip(clip_id) for clip_id in reversed(IDS))
    seen, after = [], None
    for _ in range(4):
        page = clips.page(after=after, limit=2)
        seen += [found.id for found in page.items]
        after = page.next
    assert (seen, after) == (IDS, None)
    assert clips.page(limit=7).next is None


def test_pages_filter_by_index_outcome_and_caption(session: Session, index: IndexRecord) -> None:
    clips = ClipRepository(session)
    clips.upsert([clip("a", "A Ball"), clip("b", "a 100% ball"), clip("c"), clip("d", "100 ducks")])
    EntryRepository(session).publish(index.id, [entry("a"), entry("b"), entry("d", "failed")], segment="s")

    def ids(**filters: object) -> list[str]:
        return [found.id for found in clips.page(**filters).items]  # type: ignore[arg-type]

    assert ids(index_id=index.id) == ["a", "b", "d"]
    assert ids(index_id=index.id, outcome="failed") == ["d"]
    assert ids(search="BALL") == ["a", "b", "c"]
    assert ids(search="0% ") == ["b"]  # no wildcard
    assert ids(index_id=index.id, outcome="indexed", search="100") == ["b"]
    with pytest.raises(ValueError, match="name the index too"):
        clips.page(outcome="failed")


def test_captions_are_searched_in_any_case_of_any_script(session: Session) -> None:
    clips = ClipRepository(session)
    clips.upsert([clip("a", "Ärger ÜBER 映像"), clip("b", "мяч ПАДАЕТ")])
    for search, found in {"ärger über": "a", "ÄRGER": "a", "映像": "a", "Падает": "b", "arger": None}.items():
        assert [each.id for each in clips.page(search=search).items] == ([found] if found else [])


@pytest.mark.parametrize("outcome", [None, "indexed"])
def test_a_page_of_an_index_sorts_nothing(sqlite: Database, outcome: Outcome | None) -> None:
    statements: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(sqlite.engine, "before_cursor_execute")
    def note(_c: object, _u: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        statements.append((statement, parameters))

    with sqlite.reading() as session:
        ClipRepository(session).page(index_id=1, outcome=outcome, after="a", limit=5)
        statement, parameters = statements[-1]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    assert [step for step in plan if "ORDER BY" in step[3]] == []


def test_a_clip_in_another_index_is_found(session: Session, index: IndexRecord) -> None:
    entries = EntryRepository(session)
    other = IndexRepository(session).create("other", recipe="", recipe_digest="", model="")
    ClipRepository(session).upsert(map(clip, "abc"))
    entries.publish(index.id, [entry("a"), entry("b")], segment="s")
    entries.publish(other.id, [entry("b"), entry("c", "failed")], segment="s")
    assert entries.elsewhere(index.id, ["a", "b", "c", "d"]) == {
        "b": OtherUse("other", "/b.mp4", "0" * 64),
        "c": OtherUse("other", "/c.mp4", "0" * 64),
    }


def test_an_index_is_found_by_name(session: Session, index: IndexRecord) -> None:
    indexes = IndexRepository(session)
    assert indexes.get("demo").id == index.id
    assert indexes.find("other") is None
    with pytest.raises(UnknownIndexError, match=r"no index named 'other': there are demo\."):
        indexes.get("other")


def test_a_name_is_taken_once_and_the_session_stays_usable(session: Session, index: IndexRecord) -> None:
    indexes = IndexRepository(session)
    with pytest.raises(IndexExistsError, match="'demo' exists already"):
        indexes.create("demo", recipe="", recipe_digest="", model="")
    assert indexes.create("other", recipe="", recipe_digest="", model="").id != index.id


@pytest.mark.parametrize("bad", ["", ".", "..", ".hidden", "a/b", "a b", "x" * 65, "ä", "-rf"])
def test_a_name_that_cannot_name_a_directory_is_refused(session: Session, bad: str) -> None:
    with pytest.raises(CatalogError, match="cannot name a directory"):
        IndexRepository(session).create(bad, recipe="", recipe_digest="", model="")


def test_the_overview_counts_outcomes(session: Session, index: IndexRecord) -> None:
    indexes, entries = IndexRepository(session), EntryRepository(session)
    indexes.create("empty", recipe="", recipe_digest="", model="")
    ClipRepository(session).upsert(map(clip, "abcd"))
    entries.publish(index.id, [entry("a"), entry("b"), entry("c", "no_motion")], segment="s")
    counts = {"indexed": 2, "no_motion": 1, "failed": 0}
    assert [(found.index.name, found.counts) for found in indexes.overview()] == [
        ("demo", counts),
        ("empty", {"indexed": 0, "no_motion": 0, "failed": 0}),
    ]


def test_deleting_an_index_takes_its_entries_and_leaves_the_clips(session: Session, index: IndexRecord) -> None:
    ClipRepository(session).upsert([clip("a")])
    EntryRepository(session).publish(index.id, [entry("a")], segment="s")
    IndexRepository(session).delete("demo")
    assert EntryRepository(session).of_clip("a") == []
    assert ClipRepository(session).get("a") is not None
    with pytest.raises(UnknownIndexError, match="there is none yet"):
        IndexRepository(session).delete("demo")


def test_entries_are_replaced_and_say_where_vectors_are(session: Session, index: IndexRecord) -> None:
    entries = EntryRepository(session)
    ClipRepository(session).upsert(map(clip, "abcd"))
    region = {"ranges": [{"start": 0.5, "end": 1.25}], "boxes": []}
    first = [entry("a", motion_region=region), entry("b", motion_peak=2.5, motion_region=region)]
    entries.publish(index.id, first, segment="s1")
    failed = entry("c", "failed", reason_code="truncated", reason="The file ends early.")
    entries.publish(index.id, [entry("b"), failed], segment="s2")
    assert entries.segments(index.id) == {"s1": {"a"}, "s2": {"b"}}
    assert entries.fingerprints(index.id)["c"] == Fingerprint("f" * 64, "failed")
    found = entries.get_many(index.id, ["b", "c", "d"])
    assert sorted(found) == ["b", "c"]
    assert (found["b"].motion_peak, found["b"].motion_region) == (None, None)
    assert entries.get_many(index.id, ["a"])["a"].motion_region == region
    assert (found["c"].segment, found["c"].reason_code) == (None, "truncated")
    entries.forget(index.id, ["a", "d"])
    assert sorted(entries.fingerprints(index.id)) == ["b", "c"]


def test_the_files_of_an_index_are_found_by_path(session: Session, index: IndexRecord) -> None:
    ClipRepository(session).upsert([clip("a"), replace(clip("b"), modified_ns=1 << 60), clip("elsewhere")])
    EntryRepository(session).publish(index.id, [entry("a"), entry("b")], segment="s")
    assert EntryRepository(session).files(index.id) == {
        "/a.mp4": [KnownFile("a", "0" * 64, 3 << 30, None)],
        "/b.mp4": [KnownFile("b", "0" * 64, 3 << 30, 1 << 60)],
    }


def test_moving_vectors_follows_the_order_of_ids(session: Session, index: IndexRecord) -> None:
    entries = EntryRepository(session)
    ClipRepository(session).upsert(clip(clip_id) for clip_id in IDS)
    for number, clip_id in enumerate(IDS):
        entries.publish(index.id, [entry(clip_id)], segment=f"s{number}")
    entries.move(index.id, [f"s{number}" for number in range(1, 7)], "low", IDS[0], IDS[3])
    entries.move(index.id, [f"s{number}" for number in range(1, 7)], "high", IDS[4], IDS[6])
    assert entries.segments(index.id) == {"s0": {IDS[0]}, "low": set(IDS[1:4]), "high": set(IDS[4:])}


def test_publishing_is_seen_in_the_indexs_time(session: Session, index: IndexRecord) -> None:
    ClipRepository(session).upsert([clip("a")])
    EntryRepository(session).publish(index.id, [entry("a")], segment="s")
    session.expire_all()
    assert index.updated_at > index.created_at


def test_gradients_survive_packing() -> None:
    from motiontrace.catalog.repositories.queries import pack_gradient, unpack_gradient

    vector = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    assert len(pack_gradient(vector)) == 2048
    np.testing.assert_array_equal(unpack_gradient(pack_gradient(vector)), vector)
