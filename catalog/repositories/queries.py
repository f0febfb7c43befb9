"""Queries: each row is a job that a worker takes (see `jobs`), and keeps its answer."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import defer

from motiontrace.catalog.records import IndexRecord, QueryOutcome, QueryRecord, QueryStatus, now
from motiontrace.catalog.repositories.pages import Page
from motiontrace.catalog.vectors.statistics import Direction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

_INSERT = insert(QueryRecord)  # built once: every question is stored by it
PORTION = 500  # ids in one statement
UNFINISHED: tuple[QueryStatus, ...] = ("queued", "running")


class Queue(NamedTuple):
    """How much work there is."""

    queued: int
    running: int
    oldest: datetime | None  # when the query that has waited longest was sent


class QueryRepository:
    """Reads and writes queries in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(
        self,
        index: IndexRecord,
        *,
        prompt: str,
        video_path: str,
        video_sha256: str,
        k: int,
        filter: Mapping[str, Any] | None = None,
        precondition: Mapping[str, Any] | None = None,
    ) -> QueryRecord:
        """Store a query of a video, queued; it carries the recipe digest that the index has now.

        Args:
            index: the index to ask.
            prompt: the prompt that the video was generated from.
            video_path: absolute path of the stored video.
            video_sha256: of the file, hex.
            k: how many clips to give from each end of the ranking.
            filter: which clips to rank, JSON values; None: all.
            precondition: as QueryRecord.precondition has it.
        """
        fields = {"prompt": prompt, "video_path": video_path, "video_sha256": video_sha256, "status": "queued"}
        return self._add(index, **fields, k=k, filter=_copy(filter), precondition=_copy(precondition))

    def create_answered(
        self,
        index: IndexRecord,
        *,
        clip_id: str,
        k: int,
        filter: Mapping[str, Any] | None,
        outcome: QueryOutcome,
        gradient: NDArray[np.float32] | None,
        result: Mapping[str, Any],
        timings: Mapping[str, float],
        precondition: Mapping[str, Any] | None = None,
        direction: Direction | None = None,
    ) -> QueryRecord:
        """Store a query of a clip with its answer: the index holds the clip's gradient, so no worker is needed."""
        moment = now()
        return self._add(
            index,
            clip_id=clip_id,
            k=k,
            filter=_copy(filter),
            precondition=_copy(precondition),
            status="done",
            outcome=outcome,
            gradient=None if gradient is None else pack_gradient(gradient),
            **pack_direction(direction),
            result=dict(result),
            timings=dict(timings),
            created_at=moment,
            started_at=moment,
            finished_at=moment,
        )

    def keep(self, query: QueryRecord) -> None:
        """Store a query that was answered without a service, as it is: done, with its result."""
        self._session.add(query)

    def get(self, query_id: str) -> QueryRecord | None:
        """Give the query of that id as the database has it now, or None."""
        return self._session.get(QueryRecord, query_id, populate_existing=True)

    def computed(self, video_sha256: str, prompt: str, recipe_digest: str) -> QueryRecord | None:
        """Give a query that is done and asked by the same video, prompt and recipe; None where there is none.

        Its gradient is what another computation would give.
        """
        same = select(QueryRecord).where(
            QueryRecord.video_sha256 == video_sha256,
            QueryRecord.recipe_digest == recipe_digest,
            QueryRecord.prompt == prompt,
            QueryRecord.status == "done",
        )
        return self._session.scalar(same.order_by(QueryRecord.finished_at.desc()).limit(1))

    def cancel(self, query_id: str) -> bool:
        """End a query that is not finished; False where it is, or where there is none of that id."""
        unfinished = update(QueryRecord).where(QueryRecord.id == query_id, QueryRecord.status.in_(UNFINISHED))
        ended: dict[str, Any] = {"status": "cancelled", "worker": None, "lease_until": None, "stage": None}
        return self._rows(unfinished.values(**ended, finished_at=now())) == 1

    def delete(self, query_id: str) -> bool:
        """Forget a query; False where there is none of that id."""
        return self._rows(delete(QueryRecord).where(QueryRecord.id == query_id)) == 1

    def queue(self) -> Queue:
        """Count the work there is."""
        statement = select(QueryRecord.status, func.count(), func.min(QueryRecord.created_at))
        unfinished = statement.where(QueryRecord.status.in_(UNFINISHED)).group_by(QueryRecord.status)
        found = {status: (count, oldest) for status, count, oldest in self._session.execute(unfinished)}
        queued, oldest = found.get("queued", (0, None))
        return Queue(queued, found.get("running", (0, None))[0], oldest)

    def states(self, query_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Give status and stage of each of these queries that there is."""
        found: dict[str, tuple[str, str | None]] = {}
        statement = select(QueryRecord.id, QueryRecord.status, QueryRecord.stage)
        for start in range(0, len(query_ids), PORTION):
            portion = query_ids[start : start + PORTION]
            rows = self._session.execute(statement.where(QueryRecord.id.in_(portion)))
            found |= {query_id: (status, stage) for query_id, status, stage in rows}
        return found

    def line(self) -> dict[str, int]:
        """Give the place in line of each queued query, as `place` does."""
        queued = select(QueryRecord.id).where(QueryRecord.status == "queued")
        in_order = self._session.scalars(queued.order_by(QueryRecord.created_at, QueryRecord.id))
        return {query_id: place for place, query_id in enumerate(in_order, 1)}

    def place(self, query: QueryRecord) -> int:
        """Give a queued query's place in line; the next to be taken has 1."""
        before = select(func.count()).where(
            QueryRecord.status == "queued",
            tuple_(QueryRecord.created_at, QueryRecord.id) <= (query.created_at, query.id),
        )
        return self._session.scalar(before) or 1

    def delete_ended(self, before: datetime, limit: int) -> list[str | None]:
        """Forget at most `limit` queries that ended before that moment; gives their videos' paths, to be removed."""
        old = select(QueryRecord.id).where(QueryRecord.finished_at < before).limit(limit)
        forget = delete(QueryRecord).where(QueryRecord.id.in_(old)).returning(QueryRecord.video_path)
        return list(self._session.scalars(forget.execution_options(synchronize_session=False)))

    def expire_uploads(self, before: datetime) -> list[str]:
        """Forget the videos of queries that ended before that moment; gives the files' paths, to be removed."""
        ended = (QueryRecord.finished_at < before, QueryRecord.video_path.is_not(None))
        paths = list(self._session.scalars(select(QueryRecord.video_path).where(*ended)))
        self._rows(update(QueryRecord).where(*ended).values(video_path=None))
        return [path for path in paths if path is not None]

    def page(
        self,
        *,
        status: QueryStatus | None = None,
        index_id: int | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[QueryRecord]:
        """List queries without gradients, result, timings and info, the newest first.

        Args:
            status: only queries that are at this.
            index_id: only queries of this index.
            after: where the page before ended, its `next`; stays right when queries are deleted.
            limit: how many at most.

        Raises:
            ValueError: `after` is no place in the list.
        """
        heavy = (QueryRecord.gradient, QueryRecord.direction, QueryRecord.result, QueryRecord.timings, QueryRecord.info)
        statement = select(QueryRecord).options(*(defer(column, raiseload=True) for column in heavy))
        statement = statement.order_by(QueryRecord.created_at.desc(), QueryRecord.id.desc())
        if status is not None:
            statement = statement.where(QueryRecord.status == status)
        if index_id is not None:
            statement = statement.where(QueryRecord.index_id == index_id)
        if after is not None:
            statement = statement.where(tuple_(QueryRecord.created_at, QueryRecord.id) < _place(after))
        queries = list(self._session.scalars(statement.limit(limit + 1)))
        more = len(queries) > limit
        return Page(queries[:limit], _after(queries[limit - 1]) if more else None)

    def video_paths(self) -> Iterator[str]:
        """Give the path of every query's video that has not expired."""
        for path in self._session.scalars(select(QueryRecord.video_path).where(QueryRecord.video_path.is_not(None))):
            assert path is not None
            yield path

    def _add(self, index: IndexRecord, **fields: Any) -> QueryRecord:
        query = {
            "id": uuid.uuid4().hex,
            "index_id": index.id,
            "recipe_digest": index.recipe_digest,
            "created_at": now(),
            "attempts": 0,
            **fields,
        }
        self._session.connection().execute(_INSERT, query)  # past the ORM: quicker
        return QueryRecord(**query)

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
            raise ValueError(after)
        return created_at.astimezone(UTC), query_id
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{after!r} is no place in the list of queries.") from error


def _copy(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else dict(values)


def pack_gradient(gradient: NDArray[np.float32]) -> bytes:
    """Write a float32 [dim] vector as the bytes of QueryRecord.gradient."""
    return np.ascontiguousarray(gradient, dtype="<f4").tobytes()


def unpack_gradient(packed: bytes) -> NDArray[np.float32]:
    """Read QueryRecord.gradient: float32 [dim]."""
    return np.frombuffer(packed, dtype="<f4").astype(np.float32)


def pack_direction(direction: Direction | None) -> dict[str, Any]:
    """The columns of QueryRecord that say what clips were scored against; empty where it is the gradient itself."""
    if direction is None or direction.statistics is None:
        return {"direction": None, "score_offset": None, "statistics": None}
    return {
        "direction": None if direction.vector is None else pack_gradient(direction.vector),
        "score_offset": direction.offset,
        "statistics": dict(direction.statistics),
    }


def direction_of(query: QueryRecord) -> Direction | None:
    """What clips are scored against by a query that is done; None where nothing moves in its video."""
    if query.gradient is None:
        return None
    if query.statistics is None:
        return Direction(unpack_gradient(query.gradient))
    vector = None if query.direction is None else unpack_gradient(query.direction)
    return Direction(vector, query.score_offset or 0.0, query.statistics)
