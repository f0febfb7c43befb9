from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings

from motiontrace.catalog.vectors import Hit, Searcher, SearchResult
from motiontrace.catalog.vectors.segment import half_floats
from tests.catalog.questions import Question, questions
from tests.catalog.stores import DIGEST, LIVE, fill, three_segments
from tests.catalog.vectors import vector, vectors

QUERY = vector("query")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return three_segments(tmp_path / "index")


def brute_force(values: dict[str, float], k: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Both ends of the ranking, (id, rank), by sorting everything."""
    ranked = [(clip_id, rank) for rank, clip_id in enumerate(sorted(values, key=lambda i: (-values[i], i)), 1)]
    return ranked[:k], ranked[::-1][:k]


def places(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.id, hit.rank) for hit in hits]


@settings(deadline=None, max_examples=80)
@given(question=questions())
def test_search_equals_brute_force_over_the_subset(
    tmp_path_factory: pytest.TempPathFactory, question: Question
) -> None:
    searcher = question.searcher(tmp_path_factory.mktemp("store") / "index")
    query, k, within, subset = question.queries[0], question.count, question.within, question.subset

    scores = searcher.scores(query, within)
    assert scores.values.dtype == np.float32
    assert sorted(scores.ids) == sorted(subset)
    expected = np.array([half_floats(subset[i]).astype(np.float64) @ query.astype(np.float64) for i in scores.ids])
    np.testing.assert_allclose(scores.values, expected, rtol=1e-5, atol=2e-6 * np.abs(query).max())

    result = searcher.search(query, k, within)
    top, bottom = brute_force(dict(zip(scores.ids, scores.values.tolist(), strict=True)), k)
    assert (places(result.top), places(result.bottom), result.total) == (top, bottom, len(subset))
    by_id = dict(zip(scores.ids, scores.values.tolist(), strict=True))
    assert all(hit.score == by_id[hit.id] for hit in result.top + result.bottom)


def test_a_weighted_sum_is_of_the_vectors_at_the_positions_that_scores_count(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.catalog.vectors.rows._SUMMED_AT_ONCE", 2)
    searcher = Searcher.open(index, DIGEST)
    positions = np.arange(searcher.total)[::-1][1:]  # some of every segment, rows that are gone between them
    weights = np.linspace(0.5, 1, len(positions))
    expected = sum(
        weight * half_floats(LIVE[searcher.ids[place]]).astype(np.float64)
        for place, weight in zip(positions.tolist(), weights, strict=True)
    )
    np.testing.assert_allclose(searcher.weighted_sum(positions, weights), expected, atol=1e-12)
    assert searcher.weighted_sum(positions[:0], weights[:0]).tolist() == [0.0] * searcher.dim


def test_a_filter_changes_no_score(index: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    full = searcher.scores(QUERY)
    by_id = dict(zip(full.ids, full.values, strict=True))
    assert by_id.keys() == LIVE.keys()
    for within in (["a", "z", "e"], LIVE, {"g", "unknown"}, []):
        part = searcher.scores(QUERY, within)
        assert dict(zip(part.ids, part.values, strict=True)) == {
            clip_id: by_id[clip_id] for clip_id in within if clip_id in by_id
        }


@pytest.mark.parametrize("within", [None, "abdxyz"])
@pytest.mark.parametrize("left_out", ["d", "z", "g", "unknown"])  # g is dead
def test_a_clip_that_is_left_out_is_not_ranked(index: Path, within: str | None, left_out: str) -> None:
    searcher = Searcher.open(index, DIGEST)
    rest = (set(LIVE) if within is None else set(within)) - {left_out}
    assert searcher.search(QUERY, 5, within, without=left_out) == searcher.search(QUERY, 5, rest)
    assert sorted(searcher.scores(QUERY, within, without=left_out).ids) == sorted(rest)
    page = searcher.ranked(QUERY, limit=30, within=within, without=left_out)
    assert page.hits == searcher.search(QUERY, 30, rest).top


def test_scores_are_those_of_faisss_own_range_search_to_the_bit(tmp_path: Path) -> None:
    stored = vectors([f"{number:04}" for number in range(500)], dim=512)
    directory = fill(tmp_path / "index", stored, dim=512)
    query = vector("query", dim=512)
    [path] = directory.glob("*.faiss")
    limits, values, rows = faiss.read_index(str(path)).range_search(query[None], -2.0)
    assert limits[1] == 500
    np.testing.assert_array_equal(rows, np.arange(500))
    np.testing.assert_array_equal(Searcher.open(directory, DIGEST).scores(query).values, values)


def test_many_threads_share_a_searcher(index: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    queries = [vector(f"query {number}") for number in range(40)]

    def ask(query: np.ndarray) -> list[SearchResult]:
        return [searcher.search(query, 5), searcher.search(query, 5, within="abdxyz")]

    expected = [ask(query) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, queries)) == expected


def test_percentiles_go_from_100_to_0(index: Path) -> None:
    result = Searcher.open(index, DIGEST).search(QUERY, 23)
    assert [hit.percentile for hit in result.top] == pytest.approx([100 * (23 - r) / 22 for r in range(1, 24)])
    assert result.bottom == result.top[::-1]
    [alone] = Searcher.open(index, DIGEST).search(QUERY, 5, within=["a"]).top
    assert (alone.rank, alone.percentile) == (1, 100.0)


def test_nothing_to_rank_is_no_error(index: Path, tmp_path: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    assert searcher.search(QUERY, 3, within=[]) == SearchResult([], [], 0, searcher.manifest_version)
    empty = Searcher.open(fill(tmp_path / "empty"), DIGEST)
    assert empty.total == 0
    assert empty.search(QUERY, 3).total == 0
    assert len(empty.scores(QUERY, within=["a"]).ids) == 0


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (np.ones(31, np.float32), r"shape \(31,\), the index .* has dim 32"),
        (np.ones((1, 32), np.float32), "shape"),
        (np.full(32, np.nan, np.float32), "not finite"),
        (np.full(32, 1e38, np.float32), "longer than 1e"),
    ],
)
def test_a_query_that_cannot_be_scored_is_refused(index: Path, query: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Searcher.open(index, DIGEST).scores(query)
    with pytest.raises(ValueError, match="k is 0"):
        Searcher.open(index, DIGEST).search(QUERY, 0)


def test_ids_of_scores_are_a_sequence(index: Path) -> None:
    ids = Searcher.open(index, DIGEST).scores(QUERY, within="abz").ids
    assert (ids[0], ids[-1], ids[1:], len(ids)) == ("a", "z", ["b", "z"], 3)
    with pytest.raises(IndexError):
        ids[3]
