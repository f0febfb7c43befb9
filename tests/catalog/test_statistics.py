from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from motiontrace.attribution.moments import Moments
from motiontrace.attribution.preconditioning import precondition
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.vectors import Searcher, VectorStore
from motiontrace.catalog.vectors.moments import MIN_ROWS
from motiontrace.catalog.vectors.recovery import reconcile
from motiontrace.catalog.vectors.segment import Segment
from tests.catalog.stores import DIGEST, LIVE, fill, three_segments
from tests.catalog.vectors import Vectors, vector, vectors

if TYPE_CHECKING:
    from motiontrace.preconditions import Precondition

QUERY = vector("query")
MANY = MIN_ROWS + 100


def many(seed: int = 0, count: int = MANY) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, 32)) + np.linspace(0, 1, 32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return {f"{number:06}": row for number, row in enumerate(rows.astype(np.float32))}


def halves(of: Vectors) -> NDArray[np.float16]:
    return np.stack(list(of.values())).astype(np.float16)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of one segment that has moments beside it; tests leave it as it is."""
    yield fill(tmp_path_factory.mktemp("large") / "index", many())


def committed(store: VectorStore) -> dict[str, list[str]]:
    """What a database would say of a store in order."""
    return {
        entry.name: [i for row, i in enumerate(Segment.open(store.directory / entry.name).ids) if row not in entry.dead]
        for entry in store.manifest.segments
    }


def test_statistics_are_those_of_the_live_vectors_as_searches_read_them(tmp_path: Path) -> None:
    searcher = Searcher.open(three_segments(tmp_path / "index"), DIGEST)
    statistics = searcher.statistics()
    assert statistics.count == searcher.total == len(LIVE)
    assert statistics.manifest_version == searcher.manifest_version
    assert statistics.digest == Moments.of(halves(LIVE)).digest
    assert searcher.statistics() is statistics


def test_a_query_is_preconditioned_by_the_index_it_asks(tmp_path: Path) -> None:
    statistics = Searcher.open(three_segments(tmp_path / "index"), DIGEST).statistics()
    moments = Moments.of(halves(LIVE))
    asked: list[tuple[Precondition, float]] = [
        ("none", 1),
        ("centre", 1),
        ("whiten", 0.1),
        ("whiten", 3),
        ("whiten", 0.1),
    ]
    for kind, damping in asked:
        found = statistics.precondition(QUERY, kind, damping)
        wanted = precondition(QUERY, moments.mean, moments.second_moment, kind, damping)
        assert found.vector is not None
        assert found.vector.tobytes() == wanted.query.tobytes()
        assert found.offset == wanted.offset


def test_more_dampings_than_are_kept_have_the_same_answers_again(tmp_path: Path) -> None:
    statistics = Searcher.open(three_segments(tmp_path / "index"), DIGEST).statistics()
    dampings = [0.1 * number for number in range(1, 13)]

    def all_of_them() -> list[bytes]:
        found = [statistics.precondition(QUERY, "whiten", damping).vector for damping in dampings]
        return [vector.tobytes() for vector in found if vector is not None]

    assert all_of_them() == all_of_them()
    assert len(set(all_of_them())) == len(dampings)


def test_the_way_an_index_has_come_leaves_no_trace_in_its_statistics(tmp_path: Path) -> None:
    straight = Searcher.open(fill(tmp_path / "straight", LIVE), DIGEST).statistics()
    directory = three_segments(tmp_path / "winding")
    assert Searcher.open(directory, DIGEST).statistics().digest == straight.digest
    with VectorStore(directory, DIGEST) as store:
        store.publish([part.name for part in store.merge([entry.name for entry in store.manifest.segments])])
    assert Searcher.open(directory, DIGEST).statistics().digest == straight.digest


def test_a_newer_version_has_its_own_statistics_and_the_older_keeps_its(tmp_path: Path) -> None:
    directory = fill(tmp_path / "index", vectors("abc"))
    old = Searcher.open(directory, DIGEST)
    before = old.statistics().digest
    with VectorStore(directory, DIGEST) as store:
        store.publish([store.append(vectors("de"))], removed="a")
    assert old.statistics().digest == before
    new = old.latest()
    assert new.statistics().digest == Moments.of(halves(vectors("bcde"))).digest
    assert new.statistics().manifest_version > old.statistics().manifest_version


def test_an_empty_index_has_statistics_too(tmp_path: Path) -> None:
    statistics = Searcher.open(fill(tmp_path / "index"), DIGEST).statistics()
    assert statistics.count == 0
    assert statistics.precondition(QUERY, "whiten").vector == pytest.approx(QUERY)


def test_nothing_is_left_of_a_query_that_is_the_mean(tmp_path: Path) -> None:
    statistics = Searcher.open(fill(tmp_path / "index", {"query": QUERY}), DIGEST).statistics()
    assert statistics.precondition(QUERY, "centre").vector is None


def test_large_segments_keep_their_moments_in_a_file(large: Path, tmp_path: Path) -> None:
    [path] = large.glob("*.moments")
    assert path.with_suffix(".segment").exists()
    assert not list(three_segments(tmp_path / "small").glob("*.moments"))
    assert Searcher.open(large, DIGEST).statistics().digest == Moments.of(halves(many())).digest


def test_the_file_is_read_instead_of_the_vectors(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Moments.of(halves(many())).digest
    monkeypatch.setattr(Moments, "of", None)
    assert Searcher.open(large, DIGEST).statistics().digest == wanted


def test_clips_that_left_a_large_segment_are_taken_away_exactly(tmp_path: Path) -> None:
    directory = fill(tmp_path / "index", many())
    gone = [f"{number:06}" for number in range(5, 3000, 50)]
    with VectorStore(directory, DIGEST) as store:
        store.publish([store.append(many(seed=1, count=40))], removed=gone)
    left = many() | many(seed=1, count=40)
    for clip_id in gone:
        del left[clip_id]
    assert Searcher.open(directory, DIGEST).statistics().digest == Moments.of(halves(left)).digest
    with VectorStore(directory, DIGEST) as store:
        store.publish([part.name for part in store.merge([entry.name for entry in store.manifest.segments])])
    assert len(list(directory.glob("*.moments"))) == len(list(directory.glob("*.segment"))) == 1
    assert Searcher.open(directory, DIGEST).statistics().digest == Moments.of(halves(left)).digest


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "flipped", "foreign", "of other vectors"])
def test_a_file_that_is_not_the_segments_is_made_anew_by_the_writer_alone(
    tmp_path: Path, large: Path, damage: str
) -> None:
    directory = fill(tmp_path / "index", many(seed=2))
    expected = Moments.of(halves(many(seed=2))).digest
    [path] = directory.glob("*.moments")
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
        path.write_bytes(b"x" * len(whole))
    else:
        path.write_bytes(next(large.glob("*.moments")).read_bytes())
    left = path.read_bytes() if path.exists() else None
    assert Searcher.open(directory, DIGEST).statistics().digest == expected
    assert (path.read_bytes() if path.exists() else None) == left
    with VectorStore(directory, DIGEST) as store:
        reconcile(store, committed(store))
    assert path.read_bytes() == whole


def test_vectors_too_long_to_be_summed_up_are_published_and_ranked_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.catalog.vectors.moments.MAX_DIM", 31)
    directory = fill(tmp_path / "index", many())
    with VectorStore(directory, DIGEST) as store:
        reconcile(store, committed(store))
    assert not list(directory.glob("*.moments"))
    searcher = Searcher.open(directory, DIGEST)
    assert searcher.search(QUERY, 1).total == MANY
    with pytest.raises(CatalogError, match="vectors of 32 numbers, and queries are preconditioned for 31 at most"):
        searcher.statistics()


def test_moments_without_a_segment_are_deleted(tmp_path: Path) -> None:
    directory = fill(tmp_path / "index", vectors("ab"))
    (directory / "gone.moments").write_bytes(b"")
    with VectorStore(directory, DIGEST) as store:
        reconcile(store, committed(store))
    assert not (directory / "gone.moments").exists()


def test_centred_scores_of_the_whole_index_have_mean_zero(large: Path) -> None:
    searcher = Searcher.open(large, DIGEST)
    direction = searcher.statistics().precondition(QUERY, "centre")
    assert direction.vector is not None
    products = searcher.scores(direction.vector).values.astype(np.float64)
    assert abs(products.mean()) > 0.01
    assert np.mean([direction.score(product) for product in products]) == pytest.approx(0, abs=1e-6)
