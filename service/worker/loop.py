"""The worker: one thread that takes queued queries and computes their answers."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from attribution.errors import GradientError, ModelError, RecipeMismatchError
from attribution.video import VideoError
from catalog.errors import CatalogError
from catalog.repositories import IndexRepository, JobRepository
from catalog.repositories.jobs import MAX_ATTEMPTS
from service.queries.answer import Answer, answer
from service.sandbox import DecoderError
from service.worker.housekeeping import clean_up
from service.worker.lease import Heartbeat, LeaseLostError

if TYPE_CHECKING:
    from catalog.database import Database
    from catalog.records import QueryRecord
    from catalog.repositories import Lease
    from service.engines import Engines
    from service.observability.metrics import Metrics
    from service.sandbox import Decoder
    from service.searchers import Searchers
    from service.settings import ServiceSettings

POLL_SECONDS = 0.25  # queries of this process wake the worker at once; those of others it finds by looking
LOAD_SECONDS = 10.0  # how often it looks for models that are not loaded yet
CLEAN_SECONDS = 600.0  # how often it removes what is old
RETRY_SECONDS = 1.0  # pause after an unexpected error, and twice that after the second: what is wrong may pass
log = logging.getLogger(__name__)


class _StoppingError(Exception):
    """The worker has been told to stop and hands its query back."""


class Worker:
    """Takes queries from the catalog, the longest waiting first. The row is the job: nothing else is kept.

    Any number of workers, threads and processes alike, share the work. Between queries one loads models that are new,
    so that no query need wait for them.
    """

    def __init__(
        self,
        database: Database,
        settings: ServiceSettings,
        engines: Engines,
        searchers: Searchers,
        decoder: Decoder,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        """Once `stopping` is set no further query is taken, and the one in hand ends at its next stage."""
        self._database, self._settings = database, settings
        self._engines, self._searchers, self._decoder, self._metrics = engines, searchers, decoder, metrics
        self.name = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._wake = threading.Event()
        self._stop = stopping
        self._held: Lease | None = None
        self._load_at = self._clean_at = 0.0
        # A gradient cannot be interrupted; as a daemon the thread keeps no stopped process alive.
        self._thread = threading.Thread(target=self._run, name="query-worker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that a query has been queued."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """End at the next stage of the query in hand, after `timeout` seconds at the latest.

        The query is handed back: another worker takes it at once, or the next start, and no attempt is counted.
        """
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)
        held = self._held  # read once: the thread may be letting go of it
        if held is not None:
            self._hand_back(held)

    @property
    def alive(self) -> bool:
        """Whether queries are being taken."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._wake.clear()
                claimed = self._claim()
                if claimed is None:
                    self._load_missing()
                    self._clean()
                    self._wake.wait(POLL_SECONDS)
                else:
                    self._work(*claimed)
            except Exception:  # the database is away, say: a query in hand is taken up again once its lease has run out
                log.exception("the query worker goes on after an error")
                self._stop.wait(POLL_SECONDS)

    def _claim(self) -> tuple[QueryRecord, Lease] | None:
        with self._database.reading() as session:
            if not JobRepository(session).waiting():
                return None
        with self._database.writing() as session:
            return JobRepository(session).claim_next(self.name, self._settings.lease_seconds)

    def _load_missing(self) -> None:
        if time.monotonic() < self._load_at:
            return
        with self._database.reading() as session:
            indexes = IndexRepository(session).all()
        for index in indexes:
            if self._stop.is_set():
                return
            self._engines.warm(index)
            self._searchers.warm(index)
        self._load_at = time.monotonic() + LOAD_SECONDS

    def _clean(self) -> None:
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + CLEAN_SECONDS
            clean_up(self._database, self._settings)

    def _work(self, query: QueryRecord, lease: Lease) -> None:
        self._held = lease
        try:
            with Heartbeat(self._database, lease, self._settings.lease_seconds) as heartbeat:
                self._answer(query, lease, heartbeat)
        except LeaseLostError:
            log.info("query %s was cancelled, or another worker has it", query.id)
        except _StoppingError:
            self._hand_back(lease)
        finally:
            self._held = None

    def _answer(self, query: QueryRecord, lease: Lease, heartbeat: Heartbeat) -> None:
        def begin(stage: str) -> None:
            if self._stop.is_set():
                raise _StoppingError
            heartbeat.begin(stage)

        with self._database.reading() as session:
            index = IndexRepository(session).by_id(query.index_id)
        if index is None:
            return  # deleted, and its queries with it
        try:
            found = answer(query, index, self._database, self._engines, self._searchers, self._decoder, begin)
            self._finish(lease, found)
        except (VideoError, DecoderError, ModelError, RecipeMismatchError, GradientError, CatalogError) as error:
            if self._stop.is_set() and isinstance(error, DecoderError):
                raise _StoppingError from error  # the decoder was closed under it
            self._fail(lease, _code(error), str(error))
        except (LeaseLostError, _StoppingError):
            raise
        except Exception as error:
            log.exception("attempt %d at query %s failed", lease.attempt, query.id)
            self._retry(lease, error)

    def _finish(self, lease: Lease, found: Answer) -> None:
        with self._database.writing() as session:
            done = JobRepository(session).finish(
                lease,
                outcome=found.outcome,
                gradient=found.gradient,
                result=found.ranking.model_dump(mode="json"),
                timings=found.timings,
                info=found.info,
                direction=found.direction,
            )
        if not done:
            raise LeaseLostError
        for stage, seconds in found.timings.items():
            self._metrics.stage(stage, seconds)
        self._metrics.ended("done")
        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in found.timings.items())
        log.info("query %s done (%s) at attempt %d: %s", lease.query_id, found.outcome, lease.attempt, stages)

    def _fail(self, lease: Lease, code: str, message: str) -> None:
        with self._database.writing() as session:
            if JobRepository(session).fail(lease, code=code, message=message):
                self._metrics.ended("failed")
                log.info("query %s failed at attempt %d: %s", lease.query_id, lease.attempt, code)

    def _retry(self, lease: Lease, error: Exception) -> None:
        """Queue the query again: what went wrong may pass, as a GPU's memory that another process has taken."""
        message = (
            f"The service failed on this query ({type(error).__name__}), also when it was tried again; the fault is "
            "not yours. Send it again; if it fails again, report it with the traceback in the worker's log."
        )
        with self._database.writing() as session:
            held = JobRepository(session).retry(lease, code="internal_error", message=message)
        if held and lease.attempt >= MAX_ATTEMPTS:
            self._metrics.ended("failed")
        else:
            self._stop.wait(RETRY_SECONDS * lease.attempt)

    def _hand_back(self, lease: Lease) -> None:
        try:
            with self._database.writing() as session:
                JobRepository(session).hand_back(lease)
        except SQLAlchemyError:
            log.exception("query %s could not be handed back: its lease has to run out", lease.query_id)


def _code(error: Exception) -> str:
    """A short, stable name for programs."""
    match error:
        case VideoError() | DecoderError():
            return error.code
        case ModelError():
            return "model_unavailable"
        case RecipeMismatchError():
            return "recipe_mismatch"
        case GradientError():
            return "no_gradient"
        case _:
            return "index_unreadable"
