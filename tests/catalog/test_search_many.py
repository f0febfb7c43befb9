from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from motiontrace.catalog.vectors import Searcher, faiss_index
from motiontrace.catalog.vectors import search as search_module
from motiontrace.catalog.vectors.rows import Rows, Scores, scores_of_many
from tests.catalog.questions import Question, questions
from tests.catalog.stores import DIGEST, LIVE, fill, three_segments
from tests.catalog.vectors import vector

QUERIES = np.stack([vector(f"query {number}") for number in range(5)])


@pytest.fixture
def searcher(tmp_path: Path) -> Searcher:
    return Searcher.open(three_segments(tmp_path / "index"), DIGEST)


@pytest.mark.parametrize("tile_rows", [4, 4096])
@pytest.mark.parametrize("within", [None, "aez", "bcdmnop", list(LIVE), ["unknown"]])
def test_scores_of_many_are_those_of_one_over_segments_and_dead_rows(
    searcher: Searcher, tile_rows: int, within: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_index, "_TILE_ROWS", tile_rows)
    many = searcher.scores_of_many(QUERIES, within)
    assert many.values.dtype == np.float32
    assert many.values.shape == (5, len(many.ids))
    for query, values in zip(QUERIES, many.values, strict=True):
        one = searcher.scores(query, within)
        assert list(many.ids) == list(one.ids)
        np.testing.assert_allclose(values, one.values, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(question=questions())
def test_search_many_is_search_for_each(tmp_path_factory: pytest.TempPathFactory, question: Question) -> None:
    searcher = question.searcher(tmp_path_factory.mktemp("store") / "index")
    expected = [searcher.search(query, question.count, question.within) for query in question.queries]
    assert searcher.search_many(question.queries, question.count, question.within) == expected


def test_search_many_is_search_where_rounding_alone_decides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = vector("base", dim=512)
    # Each clip sums the same 512 products in another order: by exact arithmetic all are equal.
    clips = {f"{number:04}": rng.permutation(base) for number in range(600)}
    searcher = Searcher.open(fill(tmp_path / "index", clips, dim=512), DIGEST)
    queries = np.full((3, 512), 512**-0.5, np.float32) * np.array([[1], [-1], [0.7]], np.float32)
    expected = [searcher.search(query, 20) for query in queries]
    assert len({hit.score for hit in expected[0].top}) > 1
    assert searcher.search_many(queries, 20) == expected


def test_search_many_takes_as_many_queries_at_a_time_as_memory_allows(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [searcher.search(query, 4) for query in QUERIES]
    asked: list[int] = []
    real = scores_of_many

    def counted(parts: list[Rows], queries: np.ndarray) -> Scores:
        asked.append(len(queries))
        return real(parts, queries)

    monkeypatch.setattr(search_module, "scores_of_many", counted)
    monkeypatch.setattr(search_module, "_VALUES_AT_ONCE", 2 * len(LIVE))
    assert searcher.search_many(QUERIES, 4) == expected
    assert asked == [2, 2, 1]


def test_nothing_to_score_is_no_error(searcher: Searcher, tmp_path: Path) -> None:
    empty = Searcher.open(fill(tmp_path / "empty"), DIGEST)
    assert empty.scores_of_many(QUERIES).values.shape == (5, 0)
    assert [result.total for result in empty.search_many(QUERIES, 3)] == [0] * 5
    assert searcher.scores_of_many(QUERIES[:0]).values.shape == (0, len(LIVE))
    assert searcher.search_many(QUERIES[:0], 3) == []


def test_queries_that_cannot_be_scored_are_refused(searcher: Searcher) -> None:
    one_bad = np.concatenate([QUERIES, np.full((1, 32), np.inf, np.float32)])
    for ask in (searcher.scores_of_many, lambda queries: searcher.search_many(queries, 3)):
        with pytest.raises(ValueError, match=r"shape \(31,\), the index .* has dim 32"):
            ask(QUERIES[:, :31])
        with pytest.raises(ValueError, match="shape"):
            ask(QUERIES[0])
        with pytest.raises(ValueError, match="not finite"):
            ask(one_bad)
    with pytest.raises(ValueError, match="k is 0"):
        searcher.search_many(QUERIES, 0)
