"""The vectors of each index, opened once and renewed when the indexer has published more."""

import logging
import threading
from contextlib import suppress
from pathlib import Path

from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError, DatabaseUnavailableError
from motiontrace.catalog.outage import Outage
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.vectors import Searcher

log = logging.getLogger(__name__)
WARM_SECONDS = 10.0
Key = tuple[str, str]


class Searchers:
    """One searcher for each index; safe to use from several threads.

    A searcher keeps its version for whoever holds it, so a new manifest does not disturb a search under way.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` holds each index's vector store in a directory of its name."""
        self._directory = directory
        self._locks: dict[Key, threading.Lock] = {}
        self._open: dict[Key, Searcher] = {}
        self._failures: dict[Key, str] = {}

    def of(self, index: IndexRecord) -> Searcher:
        """The newest version of the index's vectors that can be read.

        It is the version before while another thread opens a newer one, and where the newest is damaged.

        Raises:
            CatalogError: they are missing, damaged, or made by another recipe than the index's.
        """
        key = _key(index)
        lock = self._locks.setdefault(key, threading.Lock())
        known = self._usable(key)
        if not lock.acquire(blocking=known is None):
            assert known is not None  # else it was waited for
            return known
        try:
            known = self._usable(key)
            if known is None:
                found = Searcher.open(self._directory / index.name, index.recipe_digest)
            else:
                found = known.latest()
        except Exception as error:
            self._note(key, error)
            if known is None:
                self._open.pop(key, None)
                raise
            return known
        else:
            self._failures.pop(key, None)
            self._open[key] = found
            return found
        finally:
            lock.release()

    def _usable(self, key: Key) -> Searcher | None:
        """The version that is open, None where none is, or its files have been changed under it."""
        known = self._open.get(key)
        return known if known is not None and known.unchanged else None

    def warm(self, index: IndexRecord) -> None:
        """Open the index's newest version before a query needs it; `trouble` reports a failure."""
        with suppress(Exception):
            self.of(index)

    def keep_warm(self, database: Database, stopping: threading.Event) -> None:
        """Open every index's newest version before requests need it, from a thread of its own, until `stopping`."""

        def run() -> None:
            outage = Outage(log, "indexes are not looked for")
            while not stopping.is_set():
                try:
                    with database.reading() as session:
                        indexes = IndexRepository(session).all()
                    for index in indexes:
                        self.warm(index)
                except DatabaseUnavailableError:
                    pass  # the database has logged it
                except Exception as error:
                    outage.note(repr(error), error)
                stopping.wait(WARM_SECONDS)

        threading.Thread(target=run, name="index-warmer", daemon=True).start()

    def trouble(self, index: IndexRecord) -> str | None:
        """Why the index cannot be searched now, None if it can; opens nothing."""
        if _key(index) in self._open:
            return None
        return self._failures.get(_key(index), "its vectors are being opened")

    def _note(self, key: Key, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if self._failures.get(key) != reason:  # once, not at each query
            kept = " (queries go on with the version before)" if key in self._open else ""
            log.warning("vectors of index %s: %s%s", key[0], reason, kept, exc_info=not isinstance(error, CatalogError))
        self._failures[key] = reason


def _key(index: IndexRecord) -> Key:
    return index.name, index.recipe_digest
