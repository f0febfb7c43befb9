"""An index made of batches, the way the indexer makes one; as a program it can be killed.

python -m tests.catalog.indexing HOME CLIPS
"""

from collections.abc import Callable, Iterable, Sequence

from motiontrace.attribution.recipe import ProjectionSettings, Recipe
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import compact, open_index, publish_batch
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import ClipRow, EntryRepository, EntryRow
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import VectorStore
from tests.catalog.vectors import vectors

RECIPE = Recipe(family="wan", checkpoint="0" * 64, projection=ProjectionSettings(dim=32))
NAME = "demo"


def clip(clip_id: str) -> ClipRow:
    return ClipRow(id=clip_id, path=f"/{clip_id}.mp4", caption=f"clip {clip_id}")


def entry(clip_id: str, outcome: str = "indexed", version: int = 0) -> EntryRow:
    return EntryRow(clip_id=clip_id, outcome=outcome, fingerprint=f"{version}")  # type: ignore[arg-type]


def publish(database: Database, store: VectorStore, index: IndexRecord, ids: Iterable[str], version: int = 0) -> None:
    """Publish these clips' vectors of a version."""
    ids = list(ids)
    publish_batch(
        database,
        store,
        index,
        [clip(clip_id) for clip_id in ids],
        [entry(clip_id, version=version) for clip_id in ids],
        vectors(ids, version),
    )


def run(
    settings: CatalogSettings,
    ids: Sequence[str],
    batch: int,
    report: Callable[[int], object] = lambda _: None,
) -> None:
    """Make the index, or go on with it: compute what is not there yet, compact.

    Reports how many clips are done before each batch.
    """
    upgrade(settings.url)
    database = Database.open(settings.url)
    index, store, recovered = open_index(database, settings, NAME, recipe=RECIPE, model="/model")
    with store:
        assert not recovered.lost
        with database.reading() as session:
            done = EntryRepository(session).fingerprints(index.id)
        todo = [clip_id for clip_id in ids if clip_id not in done]
        for start in range(0, len(todo), batch):
            report(start)
            publish(database, store, index, todo[start : start + batch])
        compact(database, store, index)
    database.close()
