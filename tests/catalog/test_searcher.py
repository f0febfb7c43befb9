import multiprocessing
import time
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import faiss
import numpy as np
import pytest

from motiontrace.catalog.errors import CatalogError, StoreDamagedError, StoreMissingError
from motiontrace.catalog.vectors import Searcher, VectorStore
from motiontrace.catalog.vectors.recovery import reconcile
from motiontrace.catalog.vectors.segment import Segment
from tests import processes
from tests.catalog.stores import DIGEST, LIVE, fill, three_segments
from tests.catalog.vectors import vector, vectors

QUERY = vector("query")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return three_segments(tmp_path / "index")


def test_vectors_are_given_as_stored(index: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    for clip_id, stored in LIVE.items():
        np.testing.assert_array_equal(searcher.vector(clip_id), stored)
    assert searcher.vector("g") is None
    assert searcher.vector("unknown") is None


def test_ids_are_given_segment_by_segment_as_they_are_one_by_one(index: Path, tmp_path: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    ids, runs = searcher.ids, list(searcher.ids.runs())
    assert list(ids) == [clip_id for run in runs for clip_id in run] == list(searcher.scores(QUERY).ids)
    assert sorted(ids) == sorted(LIVE)
    assert all(run == sorted(run) for run in runs)
    assert len(runs) > 1
    nothing = Searcher.open(fill(tmp_path / "emptied", vectors("ab"), removed="ab"), DIGEST)
    assert (list(nothing.ids), list(nothing.ids.runs())) == ([], [])


def test_a_searcher_keeps_its_version_until_asked_for_the_latest(index: Path) -> None:
    old = Searcher.open(index, DIGEST)
    before = old.search(QUERY, 30)
    assert old.latest() is old
    with VectorStore(index, DIGEST) as store:
        store.publish([store.append(vectors(["new"]))])
        store.publish([part.name for part in store.merge([entry.name for entry in store.manifest.segments])])
    assert old.search(QUERY, 30) == before  # its files are deleted by now
    np.testing.assert_array_equal(old.vector("a"), vector("a"))
    new = old.latest()
    assert (new.total, new.manifest_version) == (24, old.manifest_version + 2)
    assert "new" in {hit.id for hit in new.search(QUERY, 30).top}
    assert new.latest() is new


def test_what_has_not_changed_is_shared_with_the_latest(index: Path) -> None:
    old = Searcher.open(index, DIGEST)
    with VectorStore(index, DIGEST) as store:
        store.publish([store.append(vectors(["new"]))])
    kept = {id(part.index) for part in old._parts}
    assert kept < {id(part.index) for part in old.latest()._parts}


def test_vectors_of_another_recipe_are_not_searched(index: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="scores would mean nothing"):
        Searcher.open(index, "cd" * 32)
    with pytest.raises(StoreMissingError):
        Searcher.open(tmp_path, DIGEST)


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "flipped", "foreign", "other rows"])
def test_a_faiss_file_that_is_not_the_segments_is_made_anew_by_the_writer_alone(index: Path, damage: str) -> None:
    expected = Searcher.open(index, DIGEST).search(QUERY, 30)
    path = sorted(index.glob("*.faiss"), key=lambda file: file.stat().st_size)[-1]
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "short":
        path.write_bytes(whole[:-1])
    elif damage == "flipped":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "foreign":
        faiss.write_index(faiss.IndexFlatL2(32), str(path))
    else:
        path.write_bytes(min(index.glob("*.faiss"), key=lambda file: file.stat().st_size).read_bytes())
    left = path.read_bytes() if path.exists() else None
    assert Searcher.open(index, DIGEST).search(QUERY, 30) == expected
    assert (path.read_bytes() if path.exists() else None) == left
    with VectorStore(index, DIGEST) as store:
        reconcile(store, committed(store))
    assert path.read_bytes() == whole


def committed(store: VectorStore) -> dict[str, list[str]]:
    """What a database would say of a store in order."""
    return {
        entry.name: [i for row, i in enumerate(Segment.open(store.directory / entry.name).ids) if row not in entry.dead]
        for entry in store.manifest.segments
    }


def test_a_damaged_segment_is_said_on_opening(index: Path) -> None:
    path = next(index.glob("*.segment"))
    whole = bytearray(path.read_bytes())
    whole[140] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreDamagedError, match=path.name):
        Searcher.open(index, DIGEST)


def test_damaged_vectors_are_said_when_they_are_read(index: Path) -> None:
    path = max(index.glob("*.segment"), key=lambda file: file.stat().st_size)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    searcher = Searcher.open(index, DIGEST)
    assert searcher.search(QUERY, 30).total == 23  # the half floats are sound
    with pytest.raises(StoreDamagedError, match="vectors in the segment"):
        searcher.vector(Segment.open(path).ids[0])
    path.with_suffix(".faiss").unlink()
    with pytest.raises(StoreDamagedError, match="vectors in the segment"):
        Searcher.open(index, DIGEST)


def test_a_segment_that_is_another_than_the_manifests_is_said(index: Path) -> None:
    manifest = index / "manifest.json"
    store = VectorStore(index, DIGEST)
    entries = store.manifest.segments
    store.replace([entries[0].model_copy(update={"count": entries[0].count + 1}), *entries[1:]])
    store.close()
    with pytest.raises(StoreDamagedError, match="not the one that the manifest names"):
        Searcher.open(manifest.parent, DIGEST)


def write_all_the_while(directory: Path, stop: Connection) -> None:
    """Version n of all ids in two segments, then merged; for n = 1, 2, ... until the other end is closed."""
    with VectorStore(directory, DIGEST) as store:
        for version in count(1):
            names = [store.append(vectors("abc", version)), store.append(vectors("def", version))]
            store.publish(names)
            store.publish([part.name for part in store.merge(names)])
            if stop.poll():
                return


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Path]:
    """An index that another process writes."""
    directory = fill(tmp_path / "index", vectors("abcdef"))
    end, stop = multiprocessing.Pipe(duplex=False)
    with stop:
        writer = processes.start(write_all_the_while, directory, end)
        yield directory
    writer.join()
    assert writer.exitcode == 0


def test_a_reader_never_sees_half_a_publication(writing: Path) -> None:
    seen: set[int] = set()
    searcher = Searcher.open(writing, DIGEST)
    end = time.monotonic() + 60
    while len(seen) < 10:
        assert time.monotonic() < end
        searcher = searcher.latest()
        for reader in (searcher, Searcher.open(writing, DIGEST)):
            assert sorted(reader.scores(QUERY).ids) == list("abcdef")
            version = reader.manifest_version // 2  # each version is published, then merged
            for clip_id in "abcdef":
                np.testing.assert_array_equal(reader.vector(clip_id), vector(clip_id, version))
            seen.add(version)
