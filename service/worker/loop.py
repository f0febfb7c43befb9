"""The worker: one thread that takes queued queries and computes their answers."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING

from motiontrace.answering.answer import Answer, answer
from motiontrace.answering.sandbox import DecoderError
from motiontrace.attribution.errors import GradientError, ModelError, RecipeMismatchError
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.errors import CatalogError, DatabaseUnavailableError
from motiontrace.catalog.outage import Outage
from motiontrace.catalog.repositories import IndexRepository, JobRepository
from motiontrace.catalog.repositories.jobs import MAX_ATTEMPTS
from motiontrace.service.shortage import shortage
from motiontrace.service.worker.housekeeping import clean_up
from motiontrace.service.worker.lease import Heartbeat, LeaseLostError

if TYPE_CHECKING:
    from motiontrace.answering.engines import Engines
    from motiontrace.answering.sandbox import Decoder
    from motiontrace.answering.searchers import Searchers
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import QueryRecord
    from motiontrace.catalog.repositories import Lease
    from motiontrace.service.observability.metrics import Metrics
    from motiontrace.service.settings import ServiceSettings

POLL_SECONDS = 0.25  # queries of this process wake the worker at once; those of others it finds by looking
LOAD_SECONDS = 10.0  # how often it looks for models that are not loaded yet
CLEAN_SECONDS = 600.0  # how often it removes what is old
AWAY_SECONDS = 5.0  # the longest pause while the database does not answer
SHORT_SECONDS = 10.0  # pause where there is no room, or no descriptor, and twice that after the second
RETRY_SECONDS = 1.0  # pause after an unexpected error, and twice that after the second: what is wrong may pass
NOT_STORED = (
    "The database did not take what was found for this query, also when it was tried again; the fault is not yours. "
    "Send it again; if it fails again, tell whoever runs the service, whose log says why."
)
log = logging.getLogger(__name__)


class _StoppingError(Exception):
    """The worker was asked to stop and hands its query back."""


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
        self._owed: list[Lease] = []  # to be queued again once the database answers
        self._away = False  # it did not when that was tried
        self._outage = Outage(log, "the query worker goes on after an error")
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
        pause = POLL_SECONDS
        while not self._stop.is_set():
            try:
                self._wake.clear()
                self._settle()
                claimed = self._claim()
                if claimed is None:
                    self._load_missing()
                    self._clean()
                    self._wake.wait(POLL_SECONDS)
                else:
                    self._work(*claimed)
                pause = POLL_SECONDS
                self._outage.passed()
            except DatabaseUnavailableError:  # the log tells of it
                self._stop.wait(pause)
                pause = min(2 * pause, AWAY_SECONDS)
            except Exception as error:  # a query in hand is taken up again once its lease has run out
                self._outage.note(repr(error), error)
                self._stop.wait(pause)
                pause = min(2 * pause, AWAY_SECONDS)

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
        except DatabaseUnavailableError:
            self._owed.append(lease)
            raise
        finally:
            self._held = None

    def _settle(self) -> None:
        """Queue again what was in hand when the database failed; whoever has taken it over since then keeps it.

        An attempt is counted where the database answers at once: it may be what is wrong with the query.
        """
        while self._owed:
            try:
                if self._away:
                    with self._database.writing() as session:
                        JobRepository(session).hand_back(self._owed[0])
                else:
                    self._retry(self._owed[0], "database_unavailable", NOT_STORED, 0)
            except DatabaseUnavailableError:
                self._away = True
                raise
            self._owed.pop(0)
        self._away = False

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
        except (LeaseLostError, _StoppingError, DatabaseUnavailableError):
            raise
        except (VideoError, DecoderError, ModelError, RecipeMismatchError, GradientError, CatalogError) as error:
            if self._stop.is_set() and isinstance(error, DecoderError):
                raise _StoppingError from error  # the decoder was closed under it
            if (short := shortage(error)) is not None:
                self._retry(lease, short.code, f"{short.detail} {short.todo}", SHORT_SECONDS)
            else:
                self._fail(lease, _code(error), str(error))
        except Exception as error:
            if (short := shortage(error)) is not None:
                self._retry(lease, short.code, f"{short.detail} {short.todo}", SHORT_SECONDS)
                return
            log.exception("attempt %d at query %s failed", lease.attempt, query.id)
            message = (
                f"The service failed on this query ({type(error).__name__}), also when it was tried again; the fault "
                "is not yours. Send it again; if it fails again, report it with the traceback in the worker's log."
            )
            self._retry(lease, "internal_error", message, RETRY_SECONDS)

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

    def _retry(self, lease: Lease, code: str, message: str, pause: float) -> None:
        """Queue the query again: what went wrong may pass, as a GPU's memory that another process has taken."""
        with self._database.writing() as session:
            held = JobRepository(session).retry(lease, code=code, message=message)
        if held and lease.attempt >= MAX_ATTEMPTS:
            self._metrics.ended("failed")
        else:
            self._stop.wait(pause * lease.attempt)

    def _hand_back(self, lease: Lease) -> None:
        try:
            with self._database.writing() as session:
                JobRepository(session).hand_back(lease)
        except DatabaseUnavailableError:
            log.warning("query %s could not be handed back: its lease has to run out", lease.query_id)


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
