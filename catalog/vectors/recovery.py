"""After a crash: the store is brought to what the database has committed."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from motiontrace.catalog.durable_files import TEMPORARY, access_to, sync_directory
from motiontrace.catalog.errors import StoreDamagedError, StoreMissingError
from motiontrace.catalog.vectors import faiss_index, moments, segment
from motiontrace.catalog.vectors.faiss_index import write_faiss_file
from motiontrace.catalog.vectors.manifest import SegmentEntry
from motiontrace.catalog.vectors.moments import write_moments
from motiontrace.catalog.vectors.segment import Segment
from motiontrace.catalog.vectors.store import VectorStore

SET_ASIDE = "set-aside"


@dataclass(frozen=True)
class Reconciled:
    """What `reconcile` had to do; all empty where the store was in order."""

    published: list[str] = field(default_factory=list)  # committed segments that no manifest named
    lost: set[str] = field(default_factory=set)  # clips whose committed vector is gone: to be computed anew
    damage: list[str] = field(default_factory=list)  # why, for people
    set_aside: list[Path] = field(default_factory=list)  # files moved away, neither used nor deleted


def reconcile(store: VectorStore, committed: Mapping[str, Collection[str]]) -> Reconciled:
    """Bring the store to what the database has committed; every committed vector is read and checked.

    Committed segments that the manifest does not name are published, published vectors that the database
    does not name are dropped, leftovers of a killed writer are deleted. A damaged segment, or a published one
    with clips that the database has in no segment (as when an older database was restored), is moved to the
    directory `set-aside`: nothing that could be the only copy is deleted. Where the manifest is gone, any
    segment could have been published.

    Args:
        store: opened for writing.
        committed: ids of the clips whose vector each segment holds, by segment name; no id in two.

    Raises:
        StoreMissingError: neither the manifest nor any committed segment is there; nothing was changed.
        CatalogError: a file cannot be read or written.
    """
    if store.without_manifest and committed and not any((store.directory / name).exists() for name in committed):
        raise StoreMissingError(
            f"{store.directory} holds none of the {sum(map(len, committed.values()))} vectors that the database "
            "knows of: is its volume mounted, and does MOTIONTRACE_HOME name the right directory? Nothing was "
            "changed. If the vectors are lost for good, index under another name."
        )
    with access_to(store.directory):
        return _reconcile(store, committed)


def _reconcile(store: VectorStore, committed: Mapping[str, Collection[str]]) -> Reconciled:
    done = Reconciled()
    published = {entry.name: entry for entry in store.manifest.segments}
    entries: list[SegmentEntry] = []
    kept: set[Path] = set()
    # Segments published already stay in their order, so that a store in order is left untouched.
    for name in [*(name for name in published if name in committed), *sorted(committed.keys() - published)]:
        path = store.directory / name
        try:
            opened = Segment.open(path)
            _ = opened.vectors
        except StoreDamagedError as error:
            done.damage.append(str(error))
            done.lost.update(committed[name])
            kept.add(path)
            continue
        write_faiss_file(opened)
        write_moments(opened)
        ids = opened.ids.all()
        wanted = set(committed[name])
        dead = tuple(row for row, clip_id in enumerate(ids) if clip_id not in wanted)
        entries.append(SegmentEntry(name=name, sha256=opened.digest, count=opened.count, dead=dead))
        done.lost.update(wanted.difference(ids))
        if name not in published:
            done.published.append(name)

    known = {clip_id for ids in committed.values() for clip_id in ids}
    unnamed = [store.directory / name for name in published]
    if store.without_manifest:
        unnamed = list(store.directory.glob(f"*{segment.SUFFIX}"))
    for path in unnamed:
        if path.name not in committed and not _only_holds(path, known, published.get(path.name)):
            kept.add(path)
    # Linked before the manifest drops them, removed after: killed in between, they are still in either place.
    done.set_aside.extend(_link(path) for path in sorted(kept) if path.exists())
    if store.without_manifest or entries != list(store.manifest.segments):
        store.replace(entries)
    _sweep(store)
    return done


def _only_holds(path: Path, known: Collection[str], entry: SegmentEntry | None) -> bool:
    """Tell whether every live clip of a segment is one of those known; of a damaged one nobody knows."""
    dead = set(entry.dead) if entry else set()
    try:
        ids = Segment.open(path).ids.all()
    except StoreDamagedError:
        return False
    return all(clip_id in known for row, clip_id in enumerate(ids) if row not in dead)


def _link(path: Path) -> Path:
    directory = path.parent / SET_ASIDE
    directory.mkdir(exist_ok=True)
    aside = directory / path.name
    if not aside.exists():
        os.link(path, aside)
        sync_directory(directory)
    return aside


def _sweep(store: VectorStore) -> None:
    """Delete what the manifest does not name: segments, what is derived of them, and files half written."""
    names = {entry.name for entry in store.manifest.segments}
    suffixes = {segment.SUFFIX, faiss_index.SUFFIX, moments.SUFFIX}
    for path in store.directory.iterdir():
        orphan = path.suffix in suffixes and path.with_suffix(segment.SUFFIX).name not in names
        if orphan or path.suffix == TEMPORARY:
            path.unlink()
