"""Queries as jobs: workers lease them, one worker each, and only who holds the lease may end one.

A worker that is killed beats no more; once its lease has run out the query is anybody's again, `MAX_ATTEMPTS` times at
most. A lease names the attempt, so a worker that lost its query and comes back late publishes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.engine import CursorResult

from motiontrace.catalog.records import QueryOutcome, QueryRecord, now
from motiontrace.catalog.repositories.queries import pack_direction, pack_gradient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from motiontrace.catalog.vectors import Direction

MAX_ATTEMPTS = 3  # a query that has brought its worker down so often is not tried again
CUT_OFF = (
    f"Work on this query was cut off {MAX_ATTEMPTS} times, so it is not tried again. See the workers' log for what "
    "ended them (too little memory, often), then send a smaller video."
)
_FREE = {"worker": None, "lease_until": None, "stage": None}


class Lease(NamedTuple):
    """One worker's hold on one query; from `claim_next` on it speaks for the query until it is lost."""

    query_id: str
    worker: str
    attempt: int


class JobRepository:
    """Takes, keeps and ends queries' leases in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def waiting(self) -> bool:
        """Tell whether there is anything to claim, writing nothing."""
        return self._session.scalar(select(QueryRecord.id).where(self._claimable()).limit(1)) is not None

    def claim_next(self, worker: str, seconds: float) -> tuple[QueryRecord, Lease] | None:
        """Lease the query that has waited longest to `worker`; it is `running` from now on, one attempt more.

        Queries whose lease has run out are claimed too. None: nothing waits. Two workers never get the same query.

        Args:
            worker: unique among all workers, at most 64 characters.
            seconds: how long the lease lasts without a `beat`.
        """
        self._give_up_worn()
        longest = (
            select(QueryRecord.id)
            .where(self._claimable())
            .order_by(QueryRecord.created_at, QueryRecord.id)
            .limit(1)
            .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time
        )
        moment = self._clock()
        claim = (
            update(QueryRecord)
            .where(QueryRecord.id == longest.scalar_subquery())
            .values(
                status="running",
                attempts=QueryRecord.attempts + 1,
                started_at=moment,
                stage=None,
                worker=worker,
                lease_until=moment + timedelta(seconds=seconds),
            )
            .returning(QueryRecord)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        query = self._session.scalar(claim)
        return None if query is None else (query, Lease(query.id, worker, query.attempts))

    def beat(self, lease: Lease, seconds: float) -> bool:
        """Hold the lease for `seconds` more; False where it is lost: cancelled, deleted, or another worker's."""
        return self._change(lease, lease_until=self._clock() + timedelta(seconds=seconds))

    def set_stage(self, lease: Lease, stage: str) -> bool:
        """Say what is being done; False where the lease is lost."""
        return self._change(lease, stage=stage)

    def finish(
        self,
        lease: Lease,
        *,
        outcome: QueryOutcome,
        gradient: NDArray[np.float32] | None,
        result: Mapping[str, Any],
        timings: Mapping[str, float],
        info: Mapping[str, Any],
        direction: Direction | None = None,
    ) -> bool:
        """End the query with its answer; False where the lease is lost (nothing is changed then).

        Args:
            lease: of the query.
            outcome: whether it could be ranked.
            gradient: float32 [dim]; None where the video has no motion.
            result: the answer, JSON values.
            timings: seconds by stage.
            info: what was seen in the video, JSON values.
            direction: what clips were scored against; None where there is no gradient.
        """
        return self._change(
            lease,
            **_FREE,
            status="done",
            outcome=outcome,
            gradient=None if gradient is None else pack_gradient(gradient),
            **pack_direction(direction),
            result=dict(result),
            timings=dict(timings),
            info=dict(info),
            error_code=None,
            error_message=None,
            finished_at=self._clock(),
        )

    def fail(self, lease: Lease, *, code: str, message: str) -> bool:
        """End the query with an error for programs and for people; False where the lease is lost."""
        stage = {key: value for key, value in _FREE.items() if key != "stage"}  # where it failed
        ended = {"error_code": code, "error_message": message, "finished_at": self._clock()}
        return self._change(lease, **stage, **ended, status="failed")

    def retry(self, lease: Lease, *, code: str, message: str) -> bool:
        """Queue the query again after an error that may pass; at the last attempt it fails with that error.

        False where the lease is lost.
        """
        if lease.attempt >= MAX_ATTEMPTS:
            return self.fail(lease, code=code, message=message)
        return self._change(lease, **_FREE, status="queued", started_at=None, error_code=code, error_message=message)

    def hand_back(self, lease: Lease) -> bool:
        """Queue the query again as if it had not been taken: for a worker's orderly end. False: the lease was lost."""
        return self._change(lease, **_FREE, status="queued", started_at=None, attempts=QueryRecord.attempts - 1)

    def _give_up_worn(self) -> None:
        """Fail queries that were cut off too often: they may be what ends the workers."""
        worn = update(QueryRecord).where(self._lost(), QueryRecord.attempts >= MAX_ATTEMPTS)
        free = {key: value for key, value in _FREE.items() if key != "stage"}
        self._rows(
            worn.values(**free, status="failed", error_code="cut_off", error_message=CUT_OFF, finished_at=self._clock())
        )

    def _lost(self) -> Any:
        return and_(QueryRecord.status == "running", QueryRecord.lease_until < self._clock())

    def _claimable(self) -> Any:
        return or_(QueryRecord.status == "queued", self._lost())

    def _clock(self) -> datetime:
        """The database's clock, where workers on several machines share one."""
        if self._session.get_bind().dialect.name != "postgresql":
            return now()
        moment = self._session.scalar(select(func.clock_timestamp()))
        assert moment is not None
        return moment

    def _change(self, lease: Lease, **values: Any) -> bool:
        held = update(QueryRecord).where(
            QueryRecord.id == lease.query_id,
            QueryRecord.status == "running",
            QueryRecord.worker == lease.worker,
            QueryRecord.attempts == lease.attempt,
        )
        return self._rows(held.values(**values)) == 1

    def _rows(self, statement: Any) -> int:
        result = self._session.execute(statement.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        return result.rowcount
