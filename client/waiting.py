"""What waiting for a query decides, whoever does the waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from motiontrace.client.errors import ServiceError
from motiontrace.documents import links
from motiontrace.documents.queries import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Callable

    from motiontrace.documents.queries import Query

POLL_SECONDS = 0.5
LATE_SECONDS = 1.0  # how much longer than asked for a silent stream may be listened to


class Deadline:
    """A point in time, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.at - time.monotonic())


class Wait:
    """The wait for one query: what is known of it, and what is called when it changes."""

    def __init__(self, query: Query, deadline: Deadline, on_event: Callable[[Query], None] | None) -> None:
        self.deadline = deadline
        self._on_event = on_event
        self._told: tuple[object, ...] | None = None
        self.note(query)

    def note(self, query: Query) -> None:
        """Take the query as it is now."""
        self.query = query
        state = (query.status, query.stage, query.place)
        if state != self._told:
            self._told = state
            if self._on_event is not None:
                self._on_event(query)

    @property
    def finished(self) -> bool:
        """Whether the query is done, failed or cancelled."""
        return self.query.status not in UNFINISHED

    def check(self) -> None:
        """Return if there is time left; ServiceError names the query."""
        if not self.deadline.left:
            raise ServiceError(
                f"Query {self.query.id} is still {self.query.status} after {self.deadline.seconds:g} s. It goes on: "
                f"wait longer, or read it later at {links.query(self.query.id)}."
            )

    def is_late(self, silence: float) -> bool:
        """Whether a stream that may be silent for so many seconds could outlast the deadline."""
        return self.deadline.left + LATE_SECONDS < silence

    def lost(self, error: ServiceError) -> ServiceError:
        """The error, with the query that was waited for."""
        return ServiceError(f"While waiting for query {self.query.id}: {error}", error.problem)
