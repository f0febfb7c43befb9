"""The vector store: immutable checksummed segments, an atomic manifest, and exact search over them.

`VectorStore` is the one writer's handle, `Searcher` a reader's. Nothing here knows of the database.
"""

from motiontrace.catalog.vectors.ranking import Hit, RankingPage, SearchResult
from motiontrace.catalog.vectors.rows import Scores
from motiontrace.catalog.vectors.search import Searcher
from motiontrace.catalog.vectors.statistics import Direction, Statistics
from motiontrace.catalog.vectors.store import VectorStore

__all__ = ["Direction", "Hit", "RankingPage", "Scores", "SearchResult", "Searcher", "Statistics", "VectorStore"]
