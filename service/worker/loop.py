"""The worker: one thread, off the event loop, that takes queued queries and computes their answers."""

import logging
import threading
import time

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from attribution.errors import GradientError, ModelError, RecipeMismatchError
from attribution.video import VideoError
from catalog.database import Database
from catalog.errors import CatalogError
from catalog.records import QueryRecord
from catalog.repositories import IndexRepository, QueryRepository
from service.engines import Engines
from service.queries.answer import Answer, answer
from service.searchers import Searchers

POLL_SECONDS = 1.0  # queries of this process wake the worker at once; those of others it finds by looking
LOAD_SECONDS = 10.0  # how often it looks for models and vectors that are not loaded yet
log = logging.getLogger(__name__)


class _Stopping(Exception):  # noqa: N818 (no error: how the thread ends)
    """The worker has been told to stop and leaves its query as it is."""


class Worker:
    """Takes queries from the catalog, the longest waiting first. The row is the job: nothing else is kept.

    Between queries it loads models and vectors that are new, so that no query need wait for them.
    """

    def __init__(self, database: Database, engines: Engines, searchers: Searchers, stopping: threading.Event) -> None:
        """Once `stopping` is set no further query is taken, and the one in hand ends at its next stage."""
        self._database, self._engines, self._searchers = database, engines, searchers
        self._wake = threading.Event()
        self._stop = stopping
        self._look_again = 0.0
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

        The query waits for the next start, and no attempt is counted.
        """
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)
        try:
            with self._database.writing() as session:
                QueryRepository(session).release_running()
        except SQLAlchemyError:
            log.exception("the query in hand could not be given back: the next start counts an attempt")

    @property
    def alive(self) -> bool:
        """Whether queries are being taken."""
        return self._thread.is_alive()

    def _run(self) -> None:
        requeued = False
        while not self._stop.is_set():
            try:
                if not requeued:
                    self._requeue()
                    requeued = True
                self._wake.clear()
                query = self._claim()
                if query is not None:
                    self._answer(query)
                else:
                    self._load_missing()
                    self._wake.wait(POLL_SECONDS)
            except _Stopping:
                return
            except Exception:  # the database is away, say: the query in hand is taken up again, a few times
                log.exception("the query worker goes on after an error")
                requeued = False
                self._stop.wait(POLL_SECONDS)

    def _requeue(self) -> None:
        """Queue again what a crash or an error left running: no other worker could have it."""
        with self._database.writing() as session:
            number = QueryRepository(session).requeue_running()
        if number:
            log.warning("queries that were cut off and are queued again: %d", number)

    def _claim(self) -> QueryRecord | None:
        with self._database.writing() as session:
            return QueryRepository(session).claim_next()

    def _load_missing(self) -> None:
        if time.monotonic() < self._look_again:
            return
        with self._database.reading() as session:
            indexes = IndexRepository(session).all()
        for index in indexes:
            self._engines.warm(index)
            self._searchers.warm(index)
        self._look_again = time.monotonic() + LOAD_SECONDS

    def _answer(self, query: QueryRecord) -> None:
        def begin(stage: str) -> None:
            if self._stop.is_set():
                raise _Stopping
            with self._database.writing() as session:
                QueryRepository(session).set_stage(query.id, stage)

        with self._database.reading() as session:
            index = IndexRepository(session).by_id(query.index_id)
        if index is None:
            return  # deleted, and its queries with it
        try:
            self._finish(query, answer(query, index, self._engines, self._searchers, begin))
        except (VideoError, ModelError, RecipeMismatchError, GradientError, CatalogError) as error:
            self._fail(query, _code(error), str(error))
        except (_Stopping, OperationalError):
            raise
        except Exception as error:
            log.exception("query %s failed", query.id)
            self._fail(
                query,
                "internal_error",
                f"The service failed on this query ({type(error).__name__}); the fault is not yours. Send it "
                "again; if it fails again, report it with the traceback in the service's log.",
            )

    def _finish(self, query: QueryRecord, found: Answer) -> None:
        with self._database.writing() as session:
            QueryRepository(session).finish(
                query.id,
                outcome=found.outcome,
                gradient=found.gradient,
                result=found.ranking.model_dump(mode="json"),
                timings=found.timings,
                info=found.info,
            )

    def _fail(self, query: QueryRecord, code: str, message: str) -> None:
        with self._database.writing() as session:
            QueryRepository(session).fail(query.id, code=code, message=message)


def _code(error: Exception) -> str:
    """A short, stable name for programs."""
    match error:
        case VideoError():
            return error.code
        case ModelError():
            return "model_unavailable"
        case RecipeMismatchError():
            return "recipe_mismatch"
        case GradientError():
            return "no_gradient"
        case _:
            return "index_unreadable"
