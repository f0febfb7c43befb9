"""The vectors of each index, opened once and renewed when the indexer has published more."""

import threading
from pathlib import Path

from catalog.records import IndexRecord
from catalog.vectors import Searcher


class Searchers:
    """One searcher for each index; safe to use from several threads.

    A searcher keeps serving its version to whoever holds it, so a new manifest disturbs no search under way.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` holds each index's vector store in a directory of its name."""
        self._directory = directory
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Searcher] = {}

    def of(self, index: IndexRecord) -> Searcher:
        """The newest version of the index's vectors.

        Raises:
            CatalogError: they are missing, damaged, or made by another recipe than the index's.
        """
        key = index.name, index.recipe_digest
        with self._lock:
            known = self._open.get(key)
            self._open[key] = (
                Searcher.open(self._directory / index.name, index.recipe_digest) if known is None else known.latest()
            )
            return self._open[key]
