from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from motiontrace.catalog.vectors import Searcher, VectorStore
from motiontrace.catalog.vectors.recovery import Reconciled, reconcile
from tests.catalog.vectors import vectors

DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    with VectorStore.create(tmp_path / "index", DIGEST, 32) as store:
        yield store


def ids(store: VectorStore) -> list[str]:
    return sorted(Searcher.open(store.directory, DIGEST).scores(np.ones(32, np.float32)).ids)


def segment_files(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.segment")}


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)


def test_a_store_in_order_is_left_untouched(store: VectorStore) -> None:
    first, second = store.append(vectors("abc")), store.append(vectors("cd", version=1))
    store.publish([first, second])
    before = store.manifest
    assert reconcile(store, {second: set("cd"), first: set("ab")}) == Reconciled()
    assert Searcher.open(store.directory, DIGEST).manifest_version == before.version


def test_a_committed_segment_is_published(store: VectorStore) -> None:
    first, second = store.append(vectors("abc")), store.append(vectors("cd", version=1))
    store.publish([first])
    done = reconcile(store, {first: set("ab"), second: set("cd")})
    assert done == Reconciled(published=[second])
    assert ids(store) == list("abcd")
    reader = Searcher.open(store.directory, DIGEST)
    np.testing.assert_array_equal(reader.vector("c"), vectors("c", version=1)["c"])


def test_what_is_published_after_recovery_knows_what_recovery_did(store: VectorStore) -> None:
    first = store.append(vectors("ab"))
    store.publish([first])
    second = store.append(vectors("bc", version=1))
    reconcile(store, {first: {"a"}, second: {"b", "c"}})
    store.publish([store.append(vectors("bc", version=2))])
    assert ids(store) == list("abc")
    assert [entry.live for entry in store.manifest.segments] == [1, 2]


def test_leftovers_of_a_killed_writer_are_deleted(store: VectorStore) -> None:
    kept, orphan = store.append(vectors("a")), store.append(vectors("b"))
    (store.directory / "x.segment.123.tmp").write_bytes(b"half")
    (store.directory / "gone.faiss").write_bytes(b"")
    assert reconcile(store, {kept: {"a"}}).published == [kept]
    assert segment_files(store.directory) == {kept}
    assert not (store.directory / orphan).with_suffix(".faiss").exists()
    assert sorted(path.suffix for path in store.directory.iterdir()) == [
        ".faiss",
        ".json",
        ".lock",
        ".segment",
    ]


def test_what_the_database_dropped_is_dropped(store: VectorStore) -> None:
    name = store.append(vectors("abc"))
    store.publish([name])
    assert reconcile(store, {name: {"a", "c"}}) == Reconciled()
    assert ids(store) == ["a", "c"]


def test_after_merging_the_old_segments_go(store: VectorStore) -> None:
    names = [store.append(vectors("ab")), store.append(vectors("cd"))]
    store.publish(names)
    [merged] = store.merge(names)  # committed, and killed before it was published
    assert reconcile(store, {merged.name: set("abcd")}) == Reconciled(published=[merged.name])
    assert segment_files(store.directory) == {merged.name}
    assert ids(store) == list("abcd")


@pytest.mark.parametrize("published", [True, False])
def test_a_damaged_segment_is_said_and_its_clips_are_lost(store: VectorStore, published: bool) -> None:
    sound, damaged = store.append(vectors("ab")), store.append(vectors("cd"))
    store.publish([sound, damaged] if published else [sound])
    flip(store.directory / damaged)
    done = reconcile(store, {sound: set("ab"), damaged: set("cd")})
    assert done.lost == {"c", "d"}
    [said] = done.damage
    assert damaged in said
    assert done.set_aside == [store.directory / "set-aside" / damaged]
    assert done.set_aside[0].exists()
    assert ids(store) == ["a", "b"]
    assert reconcile(store, {sound: set("ab")}) == Reconciled()


def test_a_missing_segment_is_said_and_its_clips_are_lost(store: VectorStore) -> None:
    name = store.append(vectors("ab"))
    store.publish([name])
    (store.directory / name).unlink()
    done = reconcile(store, {name: set("ab")})
    assert (done.lost, done.set_aside) == ({"a", "b"}, [])
    assert "is missing" in done.damage[0]
    assert ids(store) == []


def test_published_vectors_that_an_older_database_does_not_know_are_kept_aside(store: VectorStore) -> None:
    known, unknown = store.append(vectors("ab")), store.append(vectors("cd"))
    store.publish([known, unknown])
    done = reconcile(store, {known: set("ab")})
    assert done == Reconciled(set_aside=[store.directory / "set-aside" / unknown])
    assert segment_files(store.directory) == {known}
    assert segment_files(store.directory / "set-aside") == {unknown}
    assert ids(store) == ["a", "b"]


def test_clips_that_their_segment_does_not_hold_are_lost(store: VectorStore) -> None:
    name = store.append(vectors("ab"))
    store.publish([name])
    assert reconcile(store, {name: set("abx")}) == Reconciled(lost={"x"})
    assert ids(store) == ["a", "b"]
