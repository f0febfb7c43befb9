"""Queries: each row is a job that a worker takes, and keeps its answer."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, tuple_, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session, defer

from catalog.records import IndexRecord, QueryOutcome, QueryRecord, QueryStatus, now
from catalog.repositories.pages import Page

MAX_ATTEMPTS = 3  # a query that has brought its worker down so often is not tried again


class QueryRepository:
    """Reads and writes queries in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, index: IndexRecord, *, prompt: str, video_path: str, video_sha256: str, k: int) -> QueryRecord:
        """Store a new query, queued; it carries the recipe digest that the index has now.

        Args:
            index: the index to ask.
            prompt: the prompt that the video was generated from.
            video_path: absolute path of the stored video.
            video_sha256: of the file, hex.
            k: how many clips to give from each end of the ranking.
        """
        query = QueryRecord(
            id=uuid.uuid4().hex,
            index_id=index.id,
            prompt=prompt,
            video_path=video_path,
            video_sha256=video_sha256,
            k=k,
            status="queued",
            recipe_digest=index.recipe_digest,
            created_at=now(),
        )
        self._session.add(query)
        self._session.flush()
        return query

    def get(self, query_id: str) -> QueryRecord | None:
        """Give the query of that id as the database has it now, or None."""
        return self._session.get(QueryRecord, query_id, populate_existing=True)

    def claim_next(self) -> QueryRecord | None:
        """Take the query that has waited longest: it is `running` from now on, one attempt more. None: nothing waits.

        Two workers never get the same query.
        """
        waiting = (
            select(QueryRecord.id)
            .where(QueryRecord.status == "queued")
            .order_by(QueryRecord.created_at, QueryRecord.id)
            .limit(1)
            .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time
        )
        claim = (
            update(QueryRecord)
            .where(QueryRecord.id == waiting.scalar_subquery())
            .values(status="running", attempts=QueryRecord.attempts + 1, started_at=now(), stage=None)
            .returning(QueryRecord)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        return self._session.scalar(claim)

    def set_stage(self, query_id: str, stage: str) -> None:
        """Say what is being done for a running query."""
        self._change(query_id, stage=stage)

    def finish(
        self,
        query_id: str,
        *,
        outcome: QueryOutcome,
        gradient: NDArray[np.float32] | None,
        result: Mapping[str, Any],
        timings: Mapping[str, float],
        info: Mapping[str, Any],
    ) -> bool:
        """End a running query with its answer; False where it was not running (nothing is changed then).

        Args:
            query_id: the query.
            outcome: whether it could be ranked.
            gradient: float32 [dim]; None where the video has no motion.
            result: the answer, JSON values.
            timings: seconds by stage.
            info: what was seen in the video, JSON values.
        """
        return self._change(
            query_id,
            status="done",
            stage=None,
            outcome=outcome,
            gradient=None if gradient is None else pack_gradient(gradient),
            result=dict(result),
            timings=dict(timings),
            info=dict(info),
            finished_at=now(),
        )

    def fail(self, query_id: str, *, code: str, message: str) -> bool:
        """End a running query with an error for programs and for people; False where it was not running."""
        return self._change(query_id, status="failed", error_code=code, error_message=message, finished_at=now())

    def page(
        self, *, status: QueryStatus | None = None, after: str | None = None, limit: int = 50
    ) -> Page[QueryRecord]:
        """List queries without gradient, result, timings and info, the newest first.

        Args:
            status: only queries that are at this.
            after: where the page before ended, its `next`; stays right when queries are deleted.
            limit: how many at most.

        Raises:
            ValueError: `after` is no place in the list.
        """
        heavy = (QueryRecord.gradient, QueryRecord.result, QueryRecord.timings, QueryRecord.info)
        statement = select(QueryRecord).options(*(defer(column, raiseload=True) for column in heavy))
        statement = statement.order_by(QueryRecord.created_at.desc(), QueryRecord.id.desc())
        if status is not None:
            statement = statement.where(QueryRecord.status == status)
        if after is not None:
            statement = statement.where(tuple_(QueryRecord.created_at, QueryRecord.id) < _place(after))
        queries = list(self._session.scalars(statement.limit(limit + 1)))
        more = len(queries) > limit
        return Page(queries[:limit], _after(queries[limit - 1]) if more else None)

    def requeue_running(self) -> int:
        """Put every running query back in the queue: for the start of the only worker. Gives how many.

        One that was cut off MAX_ATTEMPTS times fails: it may be what ends the worker.
        """
        running = update(QueryRecord).where(QueryRecord.status == "running")
        message = (
            f"The service was cut off {MAX_ATTEMPTS} times while it worked on this query, so it is not tried again. "
            "See the service's log for what ended it (too little memory, often), then send a smaller video."
        )
        worn = running.where(QueryRecord.attempts >= MAX_ATTEMPTS)
        self._rows(worn.values(status="failed", error_code="cut_off", error_message=message, finished_at=now()))
        return self._rows(running.values(status="queued", stage=None, started_at=None))

    def release_running(self) -> None:
        """Put every running query back in the queue at an orderly end of the only worker: no attempt is counted."""
        running = update(QueryRecord).where(QueryRecord.status == "running")
        attempts = QueryRecord.attempts - 1
        self._rows(running.values(status="queued", attempts=attempts, stage=None, started_at=None))

    def video_paths(self) -> Iterator[str]:
        """Give the path of every query's video."""
        return iter(self._session.scalars(select(QueryRecord.video_path)))

    def _change(self, query_id: str, **values: Any) -> bool:
        running = update(QueryRecord).where(QueryRecord.id == query_id, QueryRecord.status == "running")
        return self._rows(running.values(**values)) == 1

    def _rows(self, statement: Any) -> int:
        result = self._session.execute(statement.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        return result.rowcount


def _after(query: QueryRecord) -> str:
    return f"{query.created_at.isoformat()}~{query.id}"


def _place(after: str) -> tuple[datetime, str]:
    """Read what `_after` wrote."""
    moment, _, query_id = after.partition("~")
    try:
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not query_id:
            raise ValueError("its parts are missing")
        return created_at.astimezone(UTC), query_id
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{after!r} is no place in the list of queries ({error}).") from error


def pack_gradient(gradient: NDArray[np.float32]) -> bytes:
    """Write a float32 [dim] vector as the bytes of QueryRecord.gradient."""
    return np.ascontiguousarray(gradient, dtype="<f4").tobytes()


def unpack_gradient(packed: bytes) -> NDArray[np.float32]:
    """Read QueryRecord.gradient: float32 [dim]."""
    return np.frombuffer(packed, dtype="<f4").astype(np.float32)
