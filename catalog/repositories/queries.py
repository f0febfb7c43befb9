"""Queries: each row is a job that a worker takes, and keeps its answer."""

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, tuple_, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from catalog.records import IndexRecord, QueryRecord, QueryStatus, now
from catalog.repositories.pages import Page


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
        """Take the query that has waited longest: it is `running` from now on. None: nothing waits.

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
            .values(status="running", started_at=now(), stage=None)
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
        gradient: NDArray[np.float32] | None,
        result: Mapping[str, Any],
        timings: Mapping[str, float],
        info: Mapping[str, Any],
    ) -> bool:
        """End a running query with its answer; False where it was not running (nothing is changed then).

        Args:
            query_id: the query.
            gradient: float32 [dim]; None where the video has no motion.
            result: the answer, JSON values.
            timings: seconds by stage.
            info: what was seen in the video, JSON values.
        """
        return self._change(
            query_id,
            status="done",
            stage=None,
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
        """List queries, the newest first, at most `limit` from behind the query `after`."""
        statement = select(QueryRecord).order_by(QueryRecord.created_at.desc(), QueryRecord.id.desc())
        if status is not None:
            statement = statement.where(QueryRecord.status == status)
        if after is not None:
            last = self.get(after)
            if last is None:
                return Page([], None)
            here = tuple_(QueryRecord.created_at, QueryRecord.id)
            statement = statement.where(here < (last.created_at, last.id))
        queries = list(self._session.scalars(statement.limit(limit + 1)))
        more = len(queries) > limit
        return Page(queries[:limit], queries[limit - 1].id if more else None)

    def requeue_running(self) -> int:
        """Put every running query back in the queue: for the start of the only worker. Gives how many."""
        statement = (
            update(QueryRecord)
            .where(QueryRecord.status == "running")
            .values(status="queued", stage=None, started_at=None)
        )
        return self._rows(statement)

    def _change(self, query_id: str, **values: Any) -> bool:
        running = update(QueryRecord).where(QueryRecord.id == query_id, QueryRecord.status == "running")
        return self._rows(running.values(**values)) == 1

    def _rows(self, statement: Any) -> int:
        result = self._session.execute(statement.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        return result.rowcount


def pack_gradient(gradient: NDArray[np.float32]) -> bytes:
    """Write a float32 [dim] vector as the bytes of QueryRecord.gradient."""
    return np.ascontiguousarray(gradient, dtype="<f4").tobytes()


def unpack_gradient(packed: bytes) -> NDArray[np.float32]:
    """Read QueryRecord.gradient: float32 [dim]."""
    return np.frombuffer(packed, dtype="<f4").astype(np.float32)
