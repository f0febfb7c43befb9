from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy.orm import Session

from catalog.database import Database
from catalog.errors import CatalogError, IndexExistsError, UnknownIndexError
from catalog.records import IndexRecord
from catalog.repositories import (
    ClipRepository,
    ClipRow,
    EntryRepository,
    EntryRow,
    Fingerprint,
    IndexRepository,
    KnownFile,
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


@pytest.mark.parametrize("extra", [{"x": float("nan")}, {"x": {1, 2}}, {"x": ["\x00"]}])
def test_metadata_that_is_no_json_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="metadata of clip 'a'"):
        ClipRow(id="a", path="/a", caption="", extra=extra)


def test_a_caption_with_a_null_character_is_refused() -> None:
    with pytest.raises(ValueError, match="null character"):
        clip("a", "x\x00")


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
    assert clips.count() == 7


def test_pages_filter_by_index_outcome_and_caption(session: Session, index: IndexRecord) -> None:
    clips = ClipRepository(session)
    clips.upsert([clip("a", "A Ball"), clip("b", "a 100% ball"), clip("c"), clip("d", "100 ducks")])
    EntryRepository(session).publish(index.id, [entry("a"), entry("b"), entry("d", "failed")], segment="s")

    def ids(**filters: object) -> list[str]:
        page = clips.page(**filters)  # type: ignore[arg-type]
        assert clips.count(**filters) == len(page.items)  # type: ignore[arg-type]
        return [found.id for found in page.items]

    assert ids(index_id=index.id) == ["a", "b", "d"]
    assert ids(index_id=index.id, outcome="failed") == ["d"]
    assert ids(search="BALL") == ["a", "b", "c"]
    assert ids(search="0% ") == ["b"]  # no wildcard
    assert ids(index_id=index.id, outcome="indexed", search="100") == ["b"]
    with pytest.raises(ValueError, match="name the index too"):
        clips.page(outcome="failed")


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
    assert entries.counts(index.id) == counts
    assert [(found.index.name, found.counts) for found in indexes.overview()] == [
        ("demo", counts),
        ("empty", {"indexed": 0, "no_motion": 0, "failed": 0}),
    ]


def test_deleting_an_index_takes_its_entries_and_leaves_the_clips(session: Session, index: IndexRecord) -> None:
    ClipRepository(session).upsert([clip("a")])
    EntryRepository(session).publish(index.id, [entry("a")], segment="s")
    IndexRepository(session).delete("demo")
    assert EntryRepository(session).of_clip("a") == []
    assert ClipRepository(session).count() == 1
    with pytest.raises(UnknownIndexError, match="there is none yet"):
        IndexRepository(session).delete("demo")


def test_entries_are_replaced_and_say_where_vectors_are(session: Session, index: IndexRecord) -> None:
    entries = EntryRepository(session)
    ClipRepository(session).upsert(map(clip, "abcd"))
    entries.publish(index.id, [entry("a"), entry("b", motion_peak=2.5)], segment="s1")
    failed = entry("c", "failed", reason_code="truncated", reason="The file ends early.")
    entries.publish(index.id, [entry("b"), failed], segment="s2")
    assert entries.segments(index.id) == {"s1": {"a"}, "s2": {"b"}}
    assert entries.fingerprints(index.id)["c"] == Fingerprint("f" * 64, "failed")
    assert [(found.clip_id, found.reason_code) for found in entries.failures(index.id)] == [("c", "truncated")]
    found = entries.get_many(index.id, ["b", "c", "d"])
    assert sorted(found) == ["b", "c"]
    assert found["b"].motion_peak is None
    assert found["c"].segment is None
    assert entries.get(index.id, "d") is None
    entries.forget(index.id, ["a", "d"])
    assert sorted(entries.fingerprints(index.id)) == ["b", "c"]


def test_the_files_of_an_index_are_found_by_path(session: Session, index: IndexRecord) -> None:
    ClipRepository(session).upsert([clip("a"), replace(clip("b"), modified_ns=1 << 60), clip("elsewhere")])
    EntryRepository(session).publish(index.id, [entry("a"), entry("b")], segment="s")
    assert EntryRepository(session).files(index.id) == {
        "/a.mp4": KnownFile("a", "0" * 64, 3 << 30, None),
        "/b.mp4": KnownFile("b", "0" * 64, 3 << 30, 1 << 60),
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
    from catalog.repositories.queries import pack_gradient, unpack_gradient

    vector = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    assert len(pack_gradient(vector)) == 2048
    np.testing.assert_array_equal(unpack_gradient(pack_gradient(vector)), vector)
