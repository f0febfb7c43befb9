from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, inspect, text
from sqlalchemy.exc import IntegrityError

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import IndexRecord, QueryRecord, now
from motiontrace.catalog.repositories import IndexRepository, JobRepository, QueryRepository
from motiontrace.catalog.repositories.queries import direction_of, unpack_gradient
from motiontrace.catalog.vectors import Direction

NONE: dict[str, Any] = {"outcome": "no_motion", "result": {}, "timings": {}, "info": {}}


@pytest.fixture
def index(database: Database) -> IndexRecord:
    with database.writing() as session:
        return IndexRepository(session).create("demo", recipe="{}", recipe_digest="d" * 64, model="/m")


def ask(database: Database, index: IndexRecord, prompt: str = "a ball falls") -> QueryRecord:
    with database.writing() as session:
        return QueryRepository(session).create(index, prompt=prompt, video_path="/v.mp4", video_sha256="0" * 64, k=5)


def get(database: Database, query_id: str) -> QueryRecord:
    with database.reading() as session:
        query = QueryRepository(session).get(query_id)
    assert query is not None
    return query


def finish(database: Database, query_id: str, **answer: Any) -> None:
    """Take queries until this one is taken, and end it."""
    with database.writing() as session:
        jobs = JobRepository(session)
        while claimed := jobs.claim_next("w", 60):
            if claimed[0].id == query_id:
                assert jobs.finish(claimed[1], **{**NONE, "gradient": None, **answer})
                return
    raise AssertionError("it was not waiting")


def test_a_query_of_a_clip_is_stored_with_its_answer(database: Database, index: IndexRecord) -> None:
    gradient = np.arange(4, dtype=np.float32)
    with database.writing() as session:
        asked = QueryRepository(session).create_answered(
            index,
            clip_id="a",
            k=3,
            filter={"verdict": ["good"]},
            outcome="ranked",
            gradient=gradient,
            result={"top": []},
            timings={"scoring": 0.1},
        )
    stored = get(database, asked.id)
    assert (stored.status, stored.clip_id, stored.prompt, stored.video_sha256) == ("done", "a", None, None)
    assert (stored.filter, stored.result, stored.timings) == ({"verdict": ["good"]}, {"top": []}, {"scoring": 0.1})
    assert stored.gradient is not None
    np.testing.assert_array_equal(unpack_gradient(stored.gradient), gradient)
    assert stored.finished_at == stored.created_at


@pytest.mark.parametrize("left", [True, False])
def test_what_clips_were_scored_against_is_kept(database: Database, index: IndexRecord, left: bool) -> None:
    gradient, vector = np.arange(4, dtype=np.float32), np.array([0.5, -0.5, 0.5, 0.1], dtype=np.float32)
    statistics = {"digest": "e" * 64, "manifest_version": 3, "vectors": 7}
    direction = Direction(vector if left else None, 0.1 + 2**-50, statistics)
    precondition = {"kind": "whiten", "damping": 0.3}
    answer: dict[str, Any] = {"outcome": "ranked", "gradient": gradient, "result": {}, "timings": {}}
    with database.writing() as session:
        queries = QueryRepository(session)
        clip = queries.create_answered(
            index, clip_id="a", k=3, filter=None, precondition=precondition, direction=direction, **answer
        )
        video = queries.create(
            index, prompt="p", video_path="/v", video_sha256="0" * 64, k=5, precondition=precondition
        )
    assert direction_of(get(database, video.id)) is None
    finish(database, video.id, **answer, direction=direction)
    for stored in (get(database, clip.id), get(database, video.id)):
        assert stored.precondition == precondition
        assert stored.gradient is not None
        np.testing.assert_array_equal(unpack_gradient(stored.gradient), gradient)
        found = direction_of(stored)
        assert found is not None
        assert (found.offset, found.statistics) == (direction.offset, statistics)
        assert (None if found.vector is None else found.vector.tolist()) == (vector.tolist() if left else None)


def test_a_query_that_is_not_preconditioned_is_scored_by_its_gradient(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    gradient = np.arange(4, dtype=np.float32)
    finish(database, asked.id, gradient=gradient, direction=Direction(gradient))
    stored = get(database, asked.id)
    assert (stored.precondition, stored.direction, stored.score_offset, stored.statistics) == (None,) * 4
    found = direction_of(stored)
    assert found is not None
    assert found.vector is not None
    np.testing.assert_array_equal(found.vector, gradient)
    assert found.offset == 0


def test_the_same_video_prompt_and_recipe_was_computed_once(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    with database.reading() as session:
        assert QueryRepository(session).computed("0" * 64, "a ball falls", "d" * 64) is None
    finish(database, asked.id)
    with database.reading() as session:
        queries = QueryRepository(session)
        found = queries.computed("0" * 64, "a ball falls", "d" * 64)
        assert found is not None
        assert found.id == asked.id
        assert queries.computed("1" * 64, "a ball falls", "d" * 64) is None
        assert queries.computed("0" * 64, "a ball rises", "d" * 64) is None
        assert queries.computed("0" * 64, "a ball falls", "e" * 64) is None


def test_only_what_is_unfinished_is_cancelled(database: Database, index: IndexRecord) -> None:
    queued, done = ask(database, index), ask(database, index)
    finish(database, done.id)
    with database.writing() as session:
        queries = QueryRepository(session)
        assert queries.cancel(queued.id)
        assert not queries.cancel(queued.id)
        assert not queries.cancel(done.id)
        assert not queries.cancel("none")
    cancelled = get(database, queued.id)
    assert (cancelled.status, cancelled.worker, cancelled.finished_at is None) == ("cancelled", None, False)


def test_a_query_is_forgotten_once(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    with database.writing() as session:
        assert QueryRepository(session).delete(asked.id)
        assert not QueryRepository(session).delete(asked.id)


def test_the_queue_and_each_place_in_it_are_counted(database: Database, index: IndexRecord) -> None:
    asked = [ask(database, index) for _ in range(4)]
    with database.reading() as session:
        assert QueryRepository(session).queue() == (4, 0, asked[0].created_at)
    with database.writing() as session:
        JobRepository(session).claim_next("w", 60)
    with database.reading() as session:
        queries = QueryRepository(session)
        assert queries.queue() == (3, 1, asked[1].created_at)
        assert [queries.place(query) for query in asked[1:]] == [1, 2, 3]
        assert queries.line() == {query.id: place for place, query in enumerate(asked[1:], 1)}
        states = queries.states([query.id for query in asked[:2]] * 400 + ["none"])
        assert states == {asked[0].id: ("running", None), asked[1].id: ("queued", None)}
        assert queries.states([]) == {}


def test_videos_expire_after_the_query_has_ended(database: Database, index: IndexRecord) -> None:
    waiting, done = ask(database, index), ask(database, index)
    finish(database, done.id)
    with database.writing() as session:
        queries = QueryRepository(session)
        assert queries.expire_uploads(now() - timedelta(hours=1)) == []
        assert queries.expire_uploads(now() + timedelta(seconds=1)) == ["/v.mp4"]
        assert queries.expire_uploads(now() + timedelta(seconds=1)) == []
    assert get(database, done.id).video_path is None
    assert get(database, waiting.id).video_path == "/v.mp4"


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE queries SET clip_id = 'a'",  # both a clip and a video
        "UPDATE queries SET video_sha256 = NULL",  # neither
        "UPDATE queries SET status = 'running'",  # without a lease
        "UPDATE queries SET worker = 'w', lease_until = created_at",  # a lease on what is not running
    ],
)
def test_the_database_refuses_rows_that_mean_nothing(database: Database, index: IndexRecord, broken: str) -> None:
    ask(database, index)
    with pytest.raises(IntegrityError), database.writing() as session:
        session.execute(text(broken))


def test_every_video_has_its_path_told(database: Database, index: IndexRecord) -> None:
    ask(database, index)
    with database.reading() as session:
        assert list(QueryRepository(session).video_paths()) == ["/v.mp4"]


def test_pages_list_the_newest_first(database: Database, index: IndexRecord) -> None:
    asked = [ask(database, index, str(number)).id for number in range(5)]
    with database.writing() as session:
        JobRepository(session).claim_next("w", 60)
    with database.reading() as session:
        queries = QueryRepository(session)
        first = queries.page(limit=3)
        rest = queries.page(limit=3, after=first.next)
        running = queries.page(status="running")
        assert queries.page(index_id=index.id + 1).items == []
        assert len(queries.page(index_id=index.id).items) == 5
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
        assert inspect(query).unloaded == {"gradient", "direction", "result", "timings", "info"}


def test_deleting_an_index_takes_its_queries(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    with database.writing() as session:
        IndexRepository(session).delete("demo")
    with database.reading() as session:
        assert QueryRepository(session).get(asked.id) is None
