from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, inspect

from catalog.database import Database
from catalog.records import IndexRecord, QueryRecord
from catalog.repositories import IndexRepository, QueryRepository
from catalog.repositories.queries import unpack_gradient

NONE: dict[str, Any] = {"outcome": "no_motion", "result": {}, "timings": {}, "info": {}}


@pytest.fixture
def index(database: Database) -> IndexRecord:
    with database.writing() as session:
        return IndexRepository(session).create("demo", recipe="{}", recipe_digest="d" * 64, model="/m")


def ask(database: Database, index: IndexRecord, prompt: str = "a ball falls") -> QueryRecord:
    with database.writing() as session:
        return QueryRepository(session).create(index, prompt=prompt, video_path="/v.mp4", video_sha256="0" * 64, k=5)


def claim(database: Database) -> QueryRecord | None:
    with database.writing() as session:
        return QueryRepository(session).claim_next()


def get(database: Database, query_id: str) -> QueryRecord:
    with database.reading() as session:
        query = QueryRepository(session).get(query_id)
    assert query is not None
    return query


def test_a_query_goes_from_queued_through_its_stages_to_done(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    assert (asked.status, asked.recipe_digest, asked.started_at) == ("queued", "d" * 64, None)
    taken = claim(database)
    assert taken is not None
    assert (taken.id, taken.status, taken.prompt) == (asked.id, "running", "a ball falls")
    assert taken.started_at is not None
    with database.writing() as session:
        QueryRepository(session).set_stage(asked.id, "decoding")
    assert get(database, asked.id).stage == "decoding"
    gradient = np.arange(512, dtype=np.float32)
    with database.writing() as session:
        assert QueryRepository(session).finish(
            asked.id,
            outcome="ranked",
            gradient=gradient,
            result={"top": [1]},
            timings={"decoding": 0.5},
            info={"frames": 3},
        )
    done = get(database, asked.id)
    assert (done.status, done.stage, done.outcome, done.result) == ("done", None, "ranked", {"top": [1]})
    assert (done.timings, done.info) == ({"decoding": 0.5}, {"frames": 3})
    assert done.gradient is not None
    np.testing.assert_array_equal(unpack_gradient(done.gradient), gradient)
    assert done.finished_at is not None
    assert done.created_at <= taken.started_at <= done.finished_at


def test_a_query_that_fails_says_why(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    claim(database)
    with database.writing() as session:
        assert QueryRepository(session).fail(asked.id, code="truncated", message="The file ends early.")
    failed = get(database, asked.id)
    assert (failed.status, failed.error_code, failed.error_message) == (
        "failed",
        "truncated",
        "The file ends early.",
    )


def test_only_a_running_query_ends(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    with database.writing() as session:
        assert not QueryRepository(session).finish(asked.id, gradient=None, **NONE)
        assert not QueryRepository(session).fail(asked.id, code="x", message="x")
    claim(database)
    with database.writing() as session:
        assert QueryRepository(session).finish(asked.id, gradient=None, **NONE)
        assert not QueryRepository(session).fail(asked.id, code="x", message="x")
    assert get(database, asked.id).status == "done"


def test_the_oldest_query_is_taken_first(database: Database, index: IndexRecord) -> None:
    asked = [ask(database, index).id for _ in range(3)]
    taken = [claim(database) for _ in range(4)]
    assert [query and query.id for query in taken] == [*asked, None]


def test_workers_never_take_the_same_query(database: Database, index: IndexRecord) -> None:
    asked = {ask(database, index).id for _ in range(20)}

    def work(_: int) -> list[str]:
        taken = []
        while query := claim(database):
            taken.append(query.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [query_id for part in pool.map(work, range(4)) for query_id in part]
    assert len(taken) == 20
    assert set(taken) == asked


def test_running_queries_go_back_to_the_queue(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    claim(database)
    with database.writing() as session:
        assert QueryRepository(session).requeue_running() == 1
        assert QueryRepository(session).requeue_running() == 0
    again = get(database, asked.id)
    assert (again.status, again.started_at) == ("queued", None)


def test_a_query_that_was_cut_off_too_often_fails(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    for again in (1, 1, 0):
        assert claim(database) is not None
        with database.writing() as session:
            assert QueryRepository(session).requeue_running() == again
    failed = get(database, asked.id)
    assert (failed.status, failed.error_code, failed.attempts) == ("failed", "cut_off", 3)
    assert failed.finished_at is not None


def test_an_orderly_end_counts_no_attempt(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    for _ in range(5):
        assert claim(database) is not None
        with database.writing() as session:
            QueryRepository(session).release_running()
    again = get(database, asked.id)
    assert (again.status, again.attempts, again.started_at) == ("queued", 0, None)


def test_every_video_has_its_path_told(database: Database, index: IndexRecord) -> None:
    ask(database, index)
    with database.reading() as session:
        assert list(QueryRepository(session).video_paths()) == ["/v.mp4"]


def test_pages_list_the_newest_first(database: Database, index: IndexRecord) -> None:
    asked = [ask(database, index, str(number)).id for number in range(5)]
    claim(database)
    with database.reading() as session:
        queries = QueryRepository(session)
        first = queries.page(limit=3)
        rest = queries.page(limit=3, after=first.next)
        running = queries.page(status="running")
    assert [query.id for query in first.items + rest.items] == asked[::-1]
    assert rest.next is None
    assert [query.id for query in running.items] == asked[:1]


def test_a_page_is_continued_though_its_last_query_is_gone(database: Database, index: IndexRecord) -> None:
    asked = [ask(database, index).id for _ in range(4)]
    with database.writing() as session:
        queries = QueryRepository(session)
        first = queries.page(limit=2)
        session.execute(delete(QueryRecord).where(QueryRecord.id == asked[2]))
        assert [query.id for query in queries.page(after=first.next).items] == asked[1::-1]


@pytest.mark.parametrize("after", ["", "x", "x~y", "2026-01-01T00:00:00~y", "2026-01-01T00:00:00+00:00~"])
def test_a_place_that_is_none_is_refused(sqlite: Database, after: str) -> None:
    with sqlite.reading() as session, pytest.raises(ValueError, match="is no place in the list"):
        QueryRepository(session).page(after=after)


def test_pages_leave_what_is_large_in_the_database(database: Database, index: IndexRecord) -> None:
    ask(database, index)
    with database.reading() as session:
        (query,) = QueryRepository(session).page().items
        assert inspect(query).unloaded == {"gradient", "result", "timings", "info"}


def test_deleting_an_index_takes_its_queries(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    with database.writing() as session:
        IndexRepository(session).delete("demo")
    with database.reading() as session:
        assert QueryRepository(session).get(asked.id) is None
