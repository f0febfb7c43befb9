"""What must hold between the database and the vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import open_index
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import EntryRepository, IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import Searcher, VectorStore
from tests.catalog.indexing import NAME, RECIPE, publish
from tests.catalog.vectors import Vectors, vectors

BEFORE = vectors(["a", "b", "c", "d", "alone"])


def make_home(settings: CatalogSettings) -> Path:
    """Make an index of BEFORE, in three segments, on SQLite."""
    upgrade(settings.url)
    with reopened(settings) as (database, store, index):
        publish(database, store, index, "ab")
        publish(database, store, index, "cd")
        publish(database, store, index, ["alone"])
    return settings.home


@contextmanager
def unrecovered(settings: CatalogSettings) -> Iterator[tuple[Database, VectorStore, IndexRecord]]:
    """Open the index as its last writer left it."""
    database = Database.open(settings.url)
    try:
        with database.reading() as session:
            index = IndexRepository(session).get(NAME)
        with VectorStore(settings.index_directory / NAME, RECIPE.digest, RECIPE.dim) as store:
            yield database, store, index
    finally:
        database.close()


@contextmanager
def reopened(settings: CatalogSettings) -> Iterator[tuple[Database, VectorStore, IndexRecord]]:
    """Open the index as the next process would."""
    database = Database.open(settings.url)
    index, store, _ = open_index(database, settings, NAME, recipe=RECIPE, model="/model")
    try:
        with store:
            yield database, store, index
    finally:
        database.close()


def published(settings: CatalogSettings) -> Vectors:
    """Give every vector that a reader finds; an id must not be there twice."""
    reader = Searcher.open(settings.index_directory / NAME, RECIPE.digest)
    ids = list(reader.scores(np.ones(32, np.float32)).ids)
    assert len(ids) == len(set(ids))
    return {clip_id: value for clip_id in ids if (value := reader.vector(clip_id)) is not None}


def same(found: Vectors, expected: Vectors) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[i], expected[i]) for i in expected)


def assert_in_step(database: Database, settings: CatalogSettings) -> None:
    """The database says of every published vector where it is, and of no other; there are no other files."""
    with database.reading() as session:
        index = IndexRepository(session).get(NAME)
        committed = EntryRepository(session).segments(index.id)
    assert {clip_id for ids in committed.values() for clip_id in ids} == published(settings).keys()
    directory = settings.index_directory / NAME
    assert {path.name for path in directory.glob("*.segment")} == committed.keys()
    assert {path.with_suffix(".segment").name for path in directory.glob("*.faiss")} == committed.keys()
