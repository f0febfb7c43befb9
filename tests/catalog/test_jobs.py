"""Leases on queries: taken by one worker, kept by beats, lost to another; on both databases."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import IndexRecord, QueryRecord
from motiontrace.catalog.repositories import IndexRepository, JobRepository, Lease, QueryRepository
from motiontrace.catalog.repositories.jobs import MAX_ATTEMPTS
from motiontrace.catalog.repositories.queries import unpack_gradient

ANSWER: dict[str, Any] = {"outcome": "no_motion", "gradient": None, "result": {}, "timings": {}, "info": {}}
LOST = 0.0  # seconds of a lease that has run out at once


@pytest.fixture
def index(database: Database) -> IndexRecord:
    with database.writing() as session:
        return IndexRepository(session).create("demo", recipe="{}", recipe_digest="d" * 64, model="/m")


def ask(database: Database, index: IndexRecord) -> str:
    fields = {"prompt": "a ball falls", "video_path": "/v.mp4", "video_sha256": "0" * 64}
    with database.writing() as session:
        return QueryRepository(session).create(index, **fields, k=5).id


def claim(database: Database, worker: str = "w", seconds: float = 60.0) -> Lease | None:
    with database.writing() as session:
        claimed = JobRepository(session).claim_next(worker, seconds)
    time.sleep(0.002)  # so that a lease of no seconds has run out
    return None if claimed is None else claimed[1]


def taken(database: Database, worker: str = "w", seconds: float = 60.0) -> Lease:
    lease = claim(database, worker, seconds)
    assert lease is not None
    return lease


def does(database: Database, name: str, *arguments: Any, **named: Any) -> Any:
    """What a method of the repository gives, in a transaction of its own."""
    with database.writing() as session:
        return getattr(JobRepository(session), name)(*arguments, **named)


def get(database: Database, query_id: str) -> QueryRecord:
    with database.reading() as session:
        query = QueryRepository(session).get(query_id)
    assert query is not None
    return query


def test_a_query_goes_from_queued_through_its_stages_to_done(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    assert get(database, asked).started_at is None
    with database.writing() as session:
        claimed = JobRepository(session).claim_next("w", 60)
    assert claimed is not None
    query, lease = claimed
    assert (query.id, query.status, query.worker, lease) == (asked, "running", "w", Lease(asked, "w", 1))
    assert does(database, "set_stage", lease, "decoding")
    assert get(database, asked).stage == "decoding"
    gradient = np.arange(512, dtype=np.float32)
    answer = {"outcome": "ranked", "gradient": gradient, "result": {"top": [1]}, "timings": {"decoding": 0.5}}
    assert does(database, "finish", lease, **answer, info={"frames": 3})
    done = get(database, asked)
    assert (done.status, done.stage, done.outcome, done.result) == ("done", None, "ranked", {"top": [1]})
    assert (done.timings, done.info, done.worker, done.lease_until) == ({"decoding": 0.5}, {"frames": 3}, None, None)
    assert done.gradient is not None
    np.testing.assert_array_equal(unpack_gradient(done.gradient), gradient)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at


def test_a_query_that_fails_says_why_and_where(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    lease = taken(database)
    does(database, "set_stage", lease, "decoding")
    assert does(database, "fail", lease, code="truncated", message="The file ends early.")
    failed = get(database, asked)
    assert (failed.status, failed.stage, failed.error_code) == ("failed", "decoding", "truncated")
    assert failed.error_message == "The file ends early."


def test_the_oldest_query_is_taken_first(database: Database, index: IndexRecord) -> None:
    asked = [ask(database, index) for _ in range(3)]
    assert [lease and lease.query_id for lease in (claim(database) for _ in range(4))] == [*asked, None]
    assert not does(database, "waiting")


def test_workers_never_take_the_same_query(database: Database, index: IndexRecord) -> None:
    asked = {ask(database, index) for _ in range(20)}

    def work(number: int) -> list[str]:
        found = []
        while lease := claim(database, f"worker {number}"):
            found.append(lease.query_id)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [query_id for part in pool.map(work, range(4)) for query_id in part]
    assert len(found) == 20
    assert set(found) == asked


def test_a_lease_that_has_run_out_is_another_workers(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    first = taken(database, "killed", LOST)
    assert does(database, "waiting")
    second = taken(database, "other")
    assert second == Lease(asked, "other", 2)
    for end in ("set_stage", "beat"):
        assert not does(database, end, first, "decoding" if end == "set_stage" else 60.0)
    assert not does(database, "finish", first, **ANSWER)
    assert not does(database, "fail", first, code="x", message="x")
    assert not does(database, "retry", first, code="x", message="x")
    assert not does(database, "hand_back", first)
    assert get(database, asked).worker == "other"
    assert does(database, "finish", second, **ANSWER)
    assert not does(database, "finish", second, **ANSWER)


def test_a_worker_that_takes_its_own_query_again_is_told_from_before(database: Database, index: IndexRecord) -> None:
    ask(database, index)
    before = taken(database, "same", LOST)
    again = taken(database, "same")
    assert not does(database, "finish", before, **ANSWER)
    assert does(database, "finish", again, **ANSWER)


def test_a_beat_keeps_the_lease(database: Database, index: IndexRecord) -> None:
    ask(database, index)
    lease = taken(database, "w", 0.3)
    for _ in range(4):
        time.sleep(0.1)
        assert does(database, "beat", lease, 0.3)
        assert claim(database, "other") is None


def test_a_query_that_is_cut_off_too_often_fails(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    for _ in range(MAX_ATTEMPTS):
        taken(database, "w", LOST)
    assert claim(database) is None
    failed = get(database, asked)
    assert (failed.status, failed.error_code, failed.attempts) == ("failed", "cut_off", MAX_ATTEMPTS)
    assert failed.worker is None
    assert failed.finished_at is not None


def test_an_error_that_may_pass_is_tried_again_a_few_times(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        lease = taken(database)
        assert lease.attempt == attempt
        assert does(database, "retry", lease, code="internal_error", message="It broke.")
    failed = get(database, asked)
    assert (failed.status, failed.error_code, failed.error_message) == ("failed", "internal_error", "It broke.")


def test_an_answer_wipes_the_error_of_an_earlier_attempt(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    does(database, "retry", taken(database), code="internal_error", message="It broke.")
    does(database, "finish", taken(database), **ANSWER)
    assert (get(database, asked).error_code, get(database, asked).error_message) == (None, None)


def test_what_is_handed_back_counts_no_attempt(database: Database, index: IndexRecord) -> None:
    asked = ask(database, index)
    for _ in range(MAX_ATTEMPTS + 2):
        assert does(database, "hand_back", taken(database))
    again = get(database, asked)
    assert (again.status, again.attempts, again.started_at, again.worker) == ("queued", 0, None, None)


def test_a_cancelled_query_is_nobodys(database: Database, index: IndexRecord) -> None:
    ask(database, index)
    lease = taken(database)
    with database.writing() as session:
        assert QueryRepository(session).cancel(lease.query_id)
    assert not does(database, "set_stage", lease, "gradient")
    assert not does(database, "beat", lease, 60.0)
    assert not does(database, "finish", lease, **ANSWER)
    assert claim(database) is None
