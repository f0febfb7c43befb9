"""The vector store: immutable checksummed segments, an atomic manifest, and exact search over them.

`VectorStore` is the one writer's handle, `Searcher` a reader's. Nothing here knows of the database.
"""

from catalog.vectors.search import Hit, Scores, Searcher, SearchResult
from catalog.vectors.store import VectorStore

__all__ = ["Hit", "Scores", "SearchResult", "Searcher", "VectorStore"]
