"""Database and vector store together: what one says, the other does, whatever is killed in between.

The order is always the same. Vectors become durable in a segment; the database commits the segment's
name together with the clips and entries; the manifest is swapped. The database is the truth about what
belongs to an index, so after a crash `recover` brings the store forward to it, never the other way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import ValidationError

from motiontrace.attribution.errors import RecipeMismatchError
from motiontrace.attribution.recipe import Recipe
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.repositories import ClipRepository, EntryRepository, IndexRepository
from motiontrace.catalog.repositories.indexes import check_name
from motiontrace.catalog.vectors.lock import WriterLock
from motiontrace.catalog.vectors.recovery import Reconciled, reconcile
from motiontrace.catalog.vectors.store import VectorStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.repositories import ClipRow, EntryRow
    from motiontrace.catalog.settings import CatalogSettings

SMALL_SEGMENTS = 64  # this many are merged while the index is being written


def recipe_of(index: IndexRecord) -> Recipe:
    """The recipe that the index was made by.

    Raises:
        RecipeMismatchError: another version of motiontrace made it; says what to do.
    """
    try:
        return Recipe.from_json(index.recipe)
    except ValidationError as error:
        ours, theirs = Recipe.model_fields["version"].default, json.loads(index.recipe).get("version")
        if isinstance(theirs, int) and theirs < ours:
            raise RecipeMismatchError(
                f"The index {index.name!r} was made by an earlier version of motiontrace (recipe version {theirs}, now "
                f"{ours}), and vectors of the two cannot be compared: index again under another name, or install the "
                "version that made it."
            ) from error
        raise RecipeMismatchError(
            f"The recipe of the index {index.name!r} is not one that this version of motiontrace can follow "
            f"({error.errors()[0]['msg']}): install the version that made it, or index again under another name."
        ) from error


def check_recipe(index: IndexRecord, recipe: Recipe) -> None:
    """See that the index was made by this recipe.

    Raises:
        CatalogError: it was made by another; names the fields that differ.
        RecipeMismatchError: it was made by another version of motiontrace.
    """
    if index.recipe_digest != recipe.digest:
        differences = recipe_of(index).differences(recipe)
        raise CatalogError(
            f"The index {index.name!r} was made by another recipe ({'; '.join(differences)}): its vectors cannot "
            "be compared with new ones. Use the same settings and model, or another index name."
        )


def claim(settings: CatalogSettings, name: str) -> WriterLock:
    """Become the one writer of an index, before anything dear is done for it; `open_index` goes on from there.

    Look the index up only afterwards. Let it go with `release` where it is not opened: of a new one nothing is left.

    Args:
        settings: say where the vectors are.
        name: of the index, see `IndexRepository.create`; it may be new.

    Raises:
        StoreLockedError: another process is writing it; names the process.
        NoLocksError: its file system has no locks.
        CatalogError: the name cannot be used, or its directory cannot be written.
    """
    check_name(name)
    return WriterLock(settings.index_directory / name)


def open_index(
    database: Database,
    settings: CatalogSettings,
    name: str,
    *,
    recipe: Recipe,
    model: str,
    lock: WriterLock | None = None,
) -> tuple[IndexRecord, VectorStore, Reconciled]:
    """Open an index for writing, recovered; make it where there is none. Call `store.close` at the end.

    Args:
        database: with the current schema.
        settings: say where the vectors are.
        name: of the index, see `IndexRepository.create`.
        recipe: that its gradients are computed by.
        model: where the model is loaded from.
        lock: what `claim` gave; None: it is taken now. The store lets it go when it is closed.

    Raises:
        CatalogError: the index was made by another recipe (says which fields differ), the name cannot be
            used, its directory holds vectors of another catalog, or its files cannot be used.
        RecipeMismatchError: it was made by another version of motiontrace.
        StoreLockedError: another process is writing it.
        StoreMissingError: its vectors are not there at all, as when a volume is not mounted.
        StoreDamagedError: its manifest cannot be read.
    """
    directory = settings.index_directory / name
    with database.writing() as session:
        indexes = IndexRepository(session)
        index = indexes.find(name)
        if index is None:
            index = indexes.create(name, recipe=recipe.to_json(), recipe_digest=recipe.digest, model=model)
            # Inside the transaction: where the directory is refused, no index is left behind.
            return index, VectorStore.create(directory, recipe.digest, recipe.dim, lock), Reconciled()
    check_recipe(index, recipe)
    store = VectorStore(directory, recipe.digest, recipe.dim, lock)
    try:
        return index, store, recover(database, store, index)
    except BaseException:
        store.close()
        raise


def publish_batch(
    database: Database,
    store: VectorStore,
    index: IndexRecord,
    clips: Sequence[ClipRow],
    entries: Sequence[EntryRow],
    vectors: Mapping[str, NDArray[np.float32]],
) -> None:
    """Store a batch: clips, what became of them, and the vectors of those that are `indexed`.

    All of it is in the index afterwards; killed midway, all or nothing of it is after `recover`. A clip
    that the index holds already is replaced.

    Args:
        database: with the current schema.
        store: the index's, open.
        index: the index.
        clips: those that are new or changed; the entries are described by them.
        entries: one a clip; each clip is in `clips` or stored already.
        vectors: float32 [dim] of length 1, by clip id: exactly the entries that are `indexed`.

    Raises:
        ValueError: entries and vectors do not fit together, or a vector is refused.
    """
    indexed = {entry.clip_id for entry in entries if entry.outcome == "indexed"}
    others = {entry.clip_id for entry in entries if entry.outcome != "indexed"}
    if len(indexed | others) != len(entries):
        raise ValueError("A clip has two entries in one batch.")
    if indexed != vectors.keys():
        raise ValueError(f"Entries and vectors do not fit together: {sorted(indexed ^ vectors.keys())[:5]}.")
    segment = store.append(vectors) if vectors else None
    with database.writing() as session:
        ClipRepository(session).upsert(clips)
        EntryRepository(session).publish(index.id, entries, segment=segment)
    store.publish([segment] if segment else [], removed=others)
    if len(small := store.small()) >= SMALL_SEGMENTS:
        _merge(database, store, index, small)


def withdraw(database: Database, store: VectorStore, index: IndexRecord, clip_ids: Collection[str]) -> None:
    """Take clips out of the index: their entries and vectors; the clips themselves stay in the catalog."""
    if clip_ids:
        with database.writing() as session:
            EntryRepository(session).forget(index.id, clip_ids)
        store.publish([], removed=clip_ids)


def compact(database: Database, store: VectorStore, index: IndexRecord) -> None:
    """Merge the whole index into full segments ordered by id.

    Its files then depend on the vectors alone: not on batches, order, or how often the work was killed.
    Call it when an indexing run has ended; costs reading and writing every vector where anything has changed.

    Raises:
        StoreDamagedError: a segment is damaged.
    """
    if not store.canonical():
        _merge(database, store, index, [entry.name for entry in store.manifest.segments])


def recover(database: Database, store: VectorStore, index: IndexRecord) -> Reconciled:
    """Make an index right after whatever happened to its last writer; `open_index` does it.

    Vectors that are damaged or gone are said in the answer, and their entries forgotten, so that the indexer
    computes these clips again.
    """
    with database.reading() as session:
        committed = EntryRepository(session).segments(index.id)
    done = reconcile(store, committed)
    if done.lost:
        with database.writing() as session:
            EntryRepository(session).forget(index.id, done.lost)
    return done


def _merge(database: Database, store: VectorStore, index: IndexRecord, names: Collection[str]) -> None:
    merged = store.merge(names)
    with database.writing() as session:
        entries = EntryRepository(session)
        for part in merged:
            entries.move(index.id, names, part.name, part.first, part.last)
    store.publish([part.name for part in merged])
