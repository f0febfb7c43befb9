"""Indexes of made-up vectors, with all that a selection reads of clips."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import compact, open_index, publish_batch
from motiontrace.catalog.repositories import ClipRow, EntryRow, IndexRepository, LabelRepository, SelectionRepository
from motiontrace.curation.selection.queries import LeftOut, Voter
from motiontrace.curation.selection.run import Selection, make_selection, repeat_selection
from motiontrace.curation.selection.settings import SelectionSettings
from tests.catalog.indexing import NAME, RECIPE
from tests.catalog.vectors import vector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from motiontrace.catalog.records import IndexRecord, SelectionRecord
    from motiontrace.catalog.settings import CatalogSettings


@dataclass(frozen=True)
class Clip:
    """A clip to be indexed; without a vector nothing moves in it."""

    id: str
    vector: np.ndarray | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def row(self) -> ClipRow:
        path = self.path or Path(f"/{self.id}.mp4")
        size = path.stat().st_size if path.exists() else None
        return ClipRow(id=self.id, path=str(path), caption=f"clip {self.id}", bytes=size, extra=self.extra)


def moving(*ids: str, **extra: Any) -> list[Clip]:
    return [Clip(clip_id, vector(clip_id), extra) for clip_id in ids]


def voter(name: str) -> Voter:
    return Voter(vector(f"query {name}"), {"video": f"/{name}.mp4", "prompt": name})


@dataclass(frozen=True)
class Index:
    """An index that has been opened for choosing from."""

    database: Database
    places: CatalogSettings
    record: IndexRecord

    def select(
        self, *names: str, answers: Sequence[Voter | LeftOut] = (), name: str | None = None, **settings: Any
    ) -> Selection:
        asked = [*map(voter, names), *answers]
        how = SelectionSettings(**settings)
        return make_selection(self.database, self.places, self.record, asked, how, name=name)

    def repeat(self, selection: Selection) -> Selection:
        return repeat_selection(self.database, self.places, self.stored(selection.id))

    def stored(self, wanted: str) -> SelectionRecord:
        with self.database.reading() as session:
            found = SelectionRepository(session).find(wanted)
        assert found is not None
        return found

    def label(self, decision: Any, *ids: str) -> None:
        with self.database.writing() as session:
            for clip_id in ids:
                LabelRepository(session).put(clip_id, verdict=None, decision=decision, tool="api")


def publish(places: CatalogSettings, *batches: Sequence[Clip], compacted: bool = False) -> None:
    """Make the index, or go on with it: a segment a batch."""
    upgrade(places.url)
    with closing(Database.open(places.url)) as database:
        index, store, _ = open_index(database, places, NAME, recipe=RECIPE, model="/model")
        with store:
            for batch in batches:
                entries = [
                    EntryRow(
                        clip_id=clip.id, outcome="no_motion" if clip.vector is None else "indexed", fingerprint="f"
                    )
                    for clip in batch
                ]
                vectors = {clip.id: clip.vector for clip in batch if clip.vector is not None}
                publish_batch(database, store, index, [clip.row for clip in batch], entries, vectors)
            if compacted:
                compact(database, store, index)


@contextmanager
def opened(places: CatalogSettings) -> Iterator[Index]:
    with closing(Database.open(places.url)) as database:
        with database.reading() as session:
            record = IndexRepository(session).get(NAME)
        yield Index(database, places, record)


def chosen_ids(selection: Selection) -> list[str]:
    return [clip.id for clip in selection.outcome.chosen()]
