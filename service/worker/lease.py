"""Holding on to the query in hand: the lease is beaten from a thread of its own while the work goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.repositories import JobRepository

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import Lease

BEATS = 3  # in the time of a lease: one may come late, and one be lost


class LeaseLostError(Exception):
    """The query is this worker's no more: it was cancelled or deleted, or another worker has taken it over."""


class Heartbeat:
    """Keeps a lease while its `with` block runs."""

    def __init__(self, database: Database, lease: Lease, seconds: float) -> None:
        """`seconds`: how long the lease lasts without a beat."""
        self._database, self._lease, self._seconds = database, lease, seconds
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self, stage: str) -> None:
        """Tell of a stage.

        Raises:
            LeaseLostError: there is no point in going on.
        """
        if not self._lost.is_set():
            with self._database.writing() as session:
                if JobRepository(session).set_stage(self._lease, stage):
                    return
        raise LeaseLostError

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds / BEATS):
            try:
                with self._database.writing() as session:
                    held = JobRepository(session).beat(self._lease, self._seconds)
            except DatabaseUnavailableError:  # the log tells of it
                continue
            if not held:
                self._lost.set()
                return
