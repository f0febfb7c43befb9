from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.catalog.vectors import Hit, Searcher, VectorStore
from tests.catalog.questions import Question, questions
from tests.catalog.stores import DIGEST, fill, three_segments
from tests.catalog.vectors import vector, vectors

QUERY = vector("query")


@pytest.fixture
def searcher(tmp_path: Path) -> Searcher:
    return Searcher.open(three_segments(tmp_path / "index"), DIGEST)


def whole(searcher: Searcher, query: np.ndarray, within: set[str] | None) -> list[tuple[str, float, int]]:
    """The whole ranking by sorting everything: (id, score, rank)."""
    scores = searcher.scores(query, within)
    pairs = sorted(zip(scores.values.tolist(), scores.ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [(clip_id, score, rank) for rank, (score, clip_id) in enumerate(pairs, 1)]


def places(hits: list[Hit]) -> list[tuple[str, float, int]]:
    return [(hit.id, hit.score, hit.rank) for hit in hits]


@settings(deadline=None, max_examples=80)
@given(question=questions(), ascending=st.booleans())
def test_pages_one_after_the_other_are_the_whole_ranking(
    tmp_path_factory: pytest.TempPathFactory, question: Question, ascending: bool
) -> None:
    searcher = question.searcher(tmp_path_factory.mktemp("store") / "index")
    [query, *_] = question.queries
    expected = whole(searcher, query, question.within)
    hits: list[Hit] = []
    after = None
    while True:
        page = searcher.ranked(query, after=after, limit=question.count, ascending=ascending, within=question.within)
        assert (page.total, page.manifest_version) == (len(expected), searcher.manifest_version)
        hits += page.hits
        if not page.hits:
            break
        assert len(page.hits) == question.count or len(hits) == len(expected)
        after = (page.hits[-1].score, page.hits[-1].id)
    assert places(hits) == (expected[::-1] if ascending else expected)
    by_rank = hits[::-1] if ascending else hits
    assert by_rank == searcher.search(query, max(1, len(expected)), question.within).top


@settings(deadline=None, max_examples=80)
@given(question=questions(), ascending=st.booleans(), data=st.data())
def test_a_page_begins_behind_any_place_whether_a_clip_stands_there_or_not(
    tmp_path_factory: pytest.TempPathFactory, question: Question, ascending: bool, data: st.DataObject
) -> None:
    searcher = question.searcher(tmp_path_factory.mktemp("store") / "index")
    [query, *_] = question.queries
    expected = whole(searcher, query, question.within)
    scores = st.sampled_from([-99.0, 0.0, 99.0, *(score for _, score, _ in expected)])
    score, clip_id = data.draw(st.tuples(scores, st.sampled_from(["", "clip 17", "clip 2", "clip 25x", "é"])))

    def behind(place: tuple[str, float, int]) -> bool:
        here, there = (-place[1], place[0]), (-score, clip_id)
        return here < there if ascending else here > there

    page = searcher.ranked(
        query, after=(score, clip_id), limit=question.count, ascending=ascending, within=question.within
    )
    rest = [place for place in (expected[::-1] if ascending else expected) if behind(place)]
    assert places(page.hits) == rest[: question.count]


def test_pages_go_on_behind_the_same_place_in_a_later_version(tmp_path: Path) -> None:
    directory = fill(tmp_path / "index", vectors("abcdefgh"))
    old = Searcher.open(directory, DIGEST)
    first = old.ranked(QUERY, limit=3)
    last = first.hits[-1]
    with VectorStore(directory, DIGEST) as store:
        store.publish([], removed=[last.id])
    new = old.latest()
    page = new.ranked(QUERY, after=(last.score, last.id), limit=10)
    assert [hit.id for hit in page.hits] == [hit.id for hit in old.ranked(QUERY, limit=10).hits[3:]]
    assert [hit.rank for hit in page.hits] == [3, 4, 5, 6, 7]
    assert page.manifest_version == first.manifest_version + 1


def test_a_page_tells_percentiles_of_the_whole_ranking(searcher: Searcher) -> None:
    second = searcher.ranked(QUERY, limit=5, after=place_of(searcher.ranked(QUERY, limit=5).hits[-1]))
    assert [hit.percentile for hit in second.hits] == pytest.approx([100 * (23 - rank) / 22 for rank in range(6, 11)])


def test_a_page_that_cannot_be_is_refused(searcher: Searcher) -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        searcher.ranked(QUERY, limit=0)
    with pytest.raises(ValueError, match="finite"):
        searcher.ranked(QUERY, limit=1, after=(float("nan"), "a"))
    with pytest.raises(ValueError, match="shape"):
        searcher.ranked(QUERY[:3], limit=1)


def place_of(hit: Hit) -> tuple[float, str]:
    return hit.score, hit.id
