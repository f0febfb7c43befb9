import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.catalog.errors import CatalogError, StoreDamagedError, StoreLockedError, StoreMissingError
from motiontrace.catalog.vectors import Searcher, VectorStore
from motiontrace.catalog.vectors import store as module
from motiontrace.catalog.vectors.lock import WriterLock
from tests.catalog.vectors import Vectors, vector, vectors

DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    with VectorStore.create(tmp_path / "index", DIGEST, 32) as store:
        yield store


def contents(directory: Path) -> Vectors:
    """All that a reader finds, refusing an id that is there twice."""
    searcher = Searcher.open(directory, DIGEST)
    ids = list(searcher.scores(np.ones(32, np.float32)).ids)
    assert len(ids) == len(set(ids)) == searcher.total
    found = {clip_id: searcher.vector(clip_id) for clip_id in ids}
    assert all(value is not None for value in found.values())
    return found  # type: ignore[return-value]


def assert_holds(directory: Path, expected: Vectors) -> None:
    found = contents(directory)
    assert found.keys() == expected.keys()
    for clip_id, value in expected.items():
        np.testing.assert_array_equal(found[clip_id], value)


def files(directory: Path) -> dict[str, bytes]:
    """Every file with vectors, by name."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix in {".segment", ".faiss"}}


def test_appended_vectors_are_seen_once_published(store: VectorStore) -> None:
    name = store.append(vectors("cab"))
    assert contents(store.directory) == {}
    store.publish([name])
    assert_holds(store.directory, vectors("abc"))


def test_a_newer_vector_replaces_the_older(store: VectorStore) -> None:
    store.publish([store.append(vectors("abc"))])
    store.publish([store.append(vectors("bcd", version=1))])
    assert_holds(store.directory, vectors("a") | vectors("bcd", version=1))


def test_of_two_segments_published_at_once_the_later_wins(store: VectorStore) -> None:
    names = [store.append(vectors("abc")), store.append(vectors("bcd", version=1))]
    store.publish(names)
    assert_holds(store.directory, vectors("a") | vectors("bcd", version=1))


def test_a_vector_that_comes_back_unchanged_is_there_once(store: VectorStore) -> None:
    name = store.append(vectors("ab"))
    store.publish([name])
    store.publish([store.append(vectors("b", version=1))])
    store.publish([store.append(vectors("ab"))])  # the first segment's very content
    assert_holds(store.directory, vectors("ab"))
    assert [entry.name for entry in store.manifest.segments] == [name]


def test_a_segment_with_no_live_row_goes_with_its_files(store: VectorStore) -> None:
    store.publish([store.append(vectors("ab"))])
    before = files(store.directory)
    store.publish([store.append(vectors("abc", version=1))])
    assert not before.keys() & files(store.directory).keys()
    assert len(files(store.directory)) == 2


def test_a_removed_vector_is_gone_and_others_stay(store: VectorStore) -> None:
    store.publish([store.append(vectors("abc"))])
    store.publish([], removed=["b", "unknown"])
    assert_holds(store.directory, vectors("ac"))
    store.publish([store.append(vectors("b", version=2))])
    assert_holds(store.directory, vectors("ac") | vectors("b", version=2))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1), max_size=2)),
        st.tuples(st.just("remove"), st.sets(st.sampled_from("abcdefgh"))),
        st.tuples(st.just("merge"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@given(steps=steps, versions=st.integers(1, 3))
def test_an_id_is_never_doubled_whatever_the_order_of_steps(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]], versions: int
) -> None:
    directory = tmp_path_factory.mktemp("store") / "index"
    store = VectorStore.create(directory, DIGEST, 32)
    expected: Vectors = {}
    for number, (step, argument) in enumerate(steps):
        if step == "publish":
            # Few versions, so that segments of equal content come back.
            batches = [vectors(sorted(ids), version=number % versions) for ids in argument]  # type: ignore[attr-defined]
            store.publish([store.append(batch) for batch in batches])
            for batch in batches:
                expected |= batch
        elif step == "remove":
            store.publish([], removed=argument)  # type: ignore[arg-type]
            expected = {clip_id: value for clip_id, value in expected.items() if clip_id not in argument}  # type: ignore[operator]
        elif step == "merge":
            store.publish([part.name for part in store.merge([s.name for s in store.manifest.segments])])
            assert store.canonical()
        else:
            store.close()
            store = VectorStore(directory, DIGEST)
        assert_holds(directory, expected)
    store.close()


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_ROWS", 4)


@pytest.mark.usefixtures("short_segments")
def test_merging_gives_the_same_bytes_whatever_the_batches_were(tmp_path: Path) -> None:
    ids = [f"clip-{number}" for number in range(11)]
    results = []
    for seed in range(6):
        order = np.random.default_rng(seed)
        with VectorStore.create(tmp_path / str(seed), DIGEST, 32) as store:
            shuffled = list(order.permutation(ids))
            while shuffled:
                size = int(order.integers(1, 5))
                batch, shuffled = shuffled[:size], shuffled[size:]
                store.publish([store.append(vectors(batch, version=int(order.integers(2))))])
                if order.random() < 0.3:
                    store.publish([part.name for part in store.merge(store.small())])
            store.publish([store.append(vectors(ids[:7]))])
            store.publish([store.append(vectors([*ids[7:], "gone"]))], removed=["gone"])
            merged = store.merge([entry.name for entry in store.manifest.segments])
            store.publish([part.name for part in merged])
            assert store.canonical()
        assert_holds(tmp_path / str(seed), vectors(ids))
        results.append((files(tmp_path / str(seed)), store.manifest.segments))
        ordered = sorted(ids)
        assert [(part.first, part.last) for part in merged] == [
            (ordered[0], ordered[3]),
            (ordered[4], ordered[7]),
            (ordered[8], ordered[10]),
        ]
    assert all(result == results[0] for result in results)
    assert len(results[0][0]) == 6


@pytest.mark.usefixtures("short_segments")
def test_only_an_index_as_merging_leaves_it_is_canonical(store: VectorStore) -> None:
    assert store.canonical()
    store.publish([store.append(vectors("abc"))])
    assert store.canonical()
    store.publish([store.append(vectors("d"))])
    assert not store.canonical()  # two that fit in one
    store.publish([part.name for part in store.merge([entry.name for entry in store.manifest.segments])])
    assert store.canonical()
    store.publish([store.append(vectors("e"))])
    assert store.canonical()
    store.publish([], removed="a")
    assert not store.canonical()


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ({}, "no vectors"),
        ({"a": np.ones(31, np.float32)}, r"float32 \[31\], the index takes float32 \[32\]"),
        ({"a": vector("a").astype(np.float64)}, "float64"),
        ({"a": vector("a"), "b": vector("b") * 2}, "'b' has length 2"),
        ({"a": np.full(32, np.nan, np.float32)}, "length nan"),
        ({"a": np.zeros(32, np.float32)}, "length 0"),
    ],
)
def test_a_vector_that_is_none_is_refused(store: VectorStore, refused: Vectors, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        store.append(refused)


def test_a_second_writer_is_refused_by_the_firsts_process(store: VectorStore) -> None:
    code = (
        "import sys; from pathlib import Path; from motiontrace.catalog.vectors.lock import WriterLock;"
        "WriterLock(Path(sys.argv[1]))"
    )
    second = subprocess.run(
        [sys.executable, "-c", code, str(store.directory)], capture_output=True, text=True, check=False
    )
    assert "StoreLockedError" in second.stderr
    assert f"pid {os.getpid()} on " in second.stderr
    with pytest.raises(StoreLockedError):
        VectorStore(store.directory, DIGEST)
    store.close()
    VectorStore(store.directory, DIGEST).close()


def test_a_store_that_is_refused_is_not_left_locked(store: VectorStore) -> None:
    store.close()
    with pytest.raises(CatalogError, match="computed by the recipe abababababab, not by cdcdcdcdcdcd"):
        VectorStore(store.directory, "cd" * 32)
    VectorStore(store.directory, DIGEST).close()


def test_a_missing_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="no vector store"):
        VectorStore(tmp_path / "nowhere", DIGEST)


def test_vectors_of_another_catalog_are_never_overwritten(store: VectorStore) -> None:
    store.publish([store.append(vectors("abc"))])
    store.close()
    with pytest.raises(CatalogError, match=r"holds vectors already, .* MOTIONTRACE_DATABASE_URL"):
        VectorStore.create(store.directory, "cd" * 32, 16)
    assert_holds(store.directory, vectors("abc"))


def test_an_empty_store_may_be_made_anew(store: VectorStore) -> None:
    store.close()
    with VectorStore.create(store.directory, DIGEST, 16) as again:
        assert again.manifest.dim == 16


def test_a_damaged_segment_is_not_published(store: VectorStore) -> None:
    store.publish([store.append(vectors("a"))])
    name = store.append(vectors("b"))
    (store.directory / name).write_bytes(b"x" * 1000)
    with pytest.raises(StoreDamagedError):
        store.publish([name])
    assert_holds(store.directory, vectors("a"))


def test_a_damaged_segment_is_not_merged(store: VectorStore) -> None:
    store.publish([store.append(vectors("ab"))])
    path = store.directory / store.manifest.segments[0].name
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StoreDamagedError, match="do not match their checksum"):
        store.merge([path.name])


def test_a_lock_that_cannot_be_written_is_let_go(tmp_path: Path) -> None:
    """As on a full volume."""
    directory, before = tmp_path / "index", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(CatalogError, match="File too large"):
            WriterLock(directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not directory.exists()
    WriterLock(directory).release()
