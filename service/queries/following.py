"""Following queries: one look at the database for all who follow any, however many they are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.outage import Outage
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.documents.queries import UNFINISHED, Query
from motiontrace.service.problem import ProblemError
from motiontrace.service.queries.documents import full

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Iterator, Mapping

    from motiontrace.answering.documents import ShownPath
    from motiontrace.catalog.database import Database

LOOK_SECONDS = 0.05  # how often all are looked at
MOST_SECONDS = 1.0  # and how seldom, once nothing has changed for long
AWAY_SECONDS = 5.0  # the longest pause while the database does not answer
log = logging.getLogger(__name__)


class _Followed:
    """A query that somebody follows, as it was when it was last looked at; None: it has been forgotten."""

    def __init__(self, query: Query) -> None:
        self.query: Query | None = query
        self.followers = 0
        self.changed = asyncio.Event()

    def change(self, query: Query | None) -> None:
        """Tell all followers; each waits for the change after the one that it has seen."""
        self.query = query
        self.wake()

    def wake(self) -> None:
        """Have all followers look."""
        self.changed.set()
        self.changed = asyncio.Event()


class Following:
    """The queries that are followed; for one event loop."""

    def __init__(self, database: Database, stopping: threading.Event, most: int, shown: ShownPath) -> None:
        """Once `stopping` is set nothing is followed any more. A key may hold `most` at once.

        `shown` gives clips' paths as followers may see them.
        """
        self._database, self._stopping, self._most, self._shown = database, stopping, most, shown
        self._followed: dict[str, _Followed] = {}
        self._held: Counter[str | None] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._joined = 0.0
        self._outage = Outage(log, "queries are not followed")

    @contextmanager
    def held(self, key_id: str | None) -> Iterator[None]:
        """Count a stream of a key while the block runs; None: of whoever has no key.

        Raises:
            ProblemError: 429, the key has too many already.
        """
        if self._held[key_id] >= self._most:
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_streams",
                f"{'This API key has' if key_id else 'Callers without a key have'} {self._most:,} event streams open, "
                "the most that there can be.",
                "Close one that you do not need, or read the queries now and then instead; whoever runs the service "
                "can raise MOTIONTRACE_MAX_STREAMS.",
                headers={"retry-after": "5"},
            )
        self._held[key_id] += 1
        try:
            yield
        finally:
            self._held[key_id] -= 1
            if not self._held[key_id]:
                del self._held[key_id]

    async def follow(self, query: Query) -> AsyncIterator[Query]:
        """The query as it is, and at each change of status, stage or place; ends with it, and with the service."""
        followed = self._join(query)
        try:
            told: Query | None = None
            while followed.query is not None:
                changed = followed.changed
                if followed.query is not told:
                    told = followed.query
                    yield told
                    continue  # it may have changed meanwhile
                if told.status not in UNFINISHED or self._stopping.is_set():
                    return
                await changed.wait()
        finally:
            followed.followers -= 1
            if not followed.followers:
                self._followed.pop(query.id, None)

    def _join(self, query: Query) -> _Followed:
        followed = self._followed.setdefault(query.id, _Followed(query))
        followed.followers += 1
        self._joined = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_on())
        return followed

    async def _look_on(self) -> None:
        changed_at, away = time.monotonic(), LOOK_SECONDS
        while self._followed:
            quiet = time.monotonic() - max(changed_at, self._joined)
            await anyio.sleep(away if away > LOOK_SECONDS else min(max(LOOK_SECONDS, quiet / 10), MOST_SECONDS))
            if self._stopping.is_set():
                for followed in self._followed.values():
                    followed.wake()
                return
            known = {name: each.query for name, each in self._followed.items() if each.query is not None}
            try:
                found = await run_sync(self._changes, known)
            except Exception as error:
                if not isinstance(error, DatabaseUnavailableError):  # of which the log tells
                    self._outage.note(repr(error), error)
                away = min(2 * away, AWAY_SECONDS)
                continue
            self._outage.passed()
            away = LOOK_SECONDS
            for name, query in found.items():
                changed_at = time.monotonic()
                if name in self._followed:
                    self._followed[name].change(query)

    def _changes(self, known: Mapping[str, Query]) -> dict[str, Query | None]:
        """Those of the queries that are not as they were; None: there is none of that id any more."""
        changes: dict[str, Query | None] = {}
        unfinished = {name: query for name, query in known.items() if query.status in UNFINISHED}
        with self._database.reading() as session:
            queries = QueryRepository(session)
            states = queries.states(list(unfinished))
            line = queries.line() if any(status == "queued" for status, _ in states.values()) else {}
            for name, query in unfinished.items():
                if name not in states:
                    changes[name] = None
                elif states[name] != (query.status, query.stage):
                    record = queries.get(name)
                    changes[name] = None if record is None else full(session, record, self._shown)
                elif query.status == "queued" and line.get(name, query.place) != query.place:
                    changes[name] = query.model_copy(update={"place": line[name]})
        return changes
