"""After a crash: the store is brought to what the database has committed."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from catalog.errors import StoreDamagedError
from catalog.vectors import halves, segment
from catalog.vectors.files import TEMPORARY, sync_directory
from catalog.vectors.manifest import SegmentEntry
from catalog.vectors.segment import Segment
from catalog.vectors.store import VectorStore

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
    directory `set-aside`: nothing that could be the only copy is deleted.

    Args:
        store: opened for writing.
        committed: ids of the clips whose vector each segment holds, by segment name; no id in two.
    """
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
        ids = opened.ids.all()
        wanted = set(committed[name])
        dead = tuple(row for row, clip_id in enumerate(ids) if clip_id not in wanted)
        entries.append(SegmentEntry(name=name, sha256=opened.digest, count=opened.count, dead=dead))
        done.lost.update(wanted.difference(ids))
        if name not in published:
            done.published.append(name)

    known = {clip_id for ids in committed.values() for clip_id in ids}
    for name in published.keys() - committed.keys():
        if not _ids(store.directory / name, published[name]) <= known:
            kept.add(store.directory / name)
    # Linked before the manifest drops them, removed after: killed in between, they are still in either place.
    done.set_aside.extend(_link(path) for path in sorted(kept) if path.exists())
    if entries != list(store.manifest.segments):
        store.replace(entries)
    _sweep(store)
    return done


def _ids(path: Path, entry: SegmentEntry) -> set[str]:
    dead = set(entry.dead)
    try:
        ids = Segment.open(path).ids.all()
    except StoreDamagedError:
        return set()
    return {clip_id for row, clip_id in enumerate(ids) if row not in dead}


def _link(path: Path) -> Path:
    directory = path.parent / SET_ASIDE
    directory.mkdir(exist_ok=True)
    aside = directory / path.name
    if not aside.exists():
        os.link(path, aside)
        sync_directory(directory)
    return aside


def _sweep(store: VectorStore) -> None:
    """Delete what the manifest does not name: segments, their FAISS files, and files half written."""
    names = {entry.name for entry in store.manifest.segments}
    for path in store.directory.iterdir():
        orphan = path.suffix in {segment.SUFFIX, halves.SUFFIX} and (path.with_suffix(segment.SUFFIX).name not in names)
        if orphan or path.suffix == TEMPORARY:
            path.unlink()
