"""The writer's side of the vector store: append, publish, merge.

Vectors go through three steps: `append` makes a segment durable, the caller commits its name in the database,
`publish` swaps the manifest. Whatever is killed in between, `recovery.reconcile` brings the store to what
the database has committed: nothing lost, nothing twice.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from motiontrace.catalog.durable_files import access_to, sync_directory
from motiontrace.catalog.errors import CatalogError, StoreMissingError
from motiontrace.catalog.vectors.faiss_index import faiss_path, write_faiss_file
from motiontrace.catalog.vectors.lock import WriterLock
from motiontrace.catalog.vectors.manifest import Manifest, SegmentEntry
from motiontrace.catalog.vectors.moments import moments_path, write_moments
from motiontrace.catalog.vectors.segment import SUFFIX, Segment, write_segment

SEGMENT_ROWS = 65_536  # of a full segment


@dataclass(frozen=True)
class Merged:
    """A segment that `merge` has written: it holds the clips from `first` to `last`, in the order of ids."""

    name: str
    first: str
    last: str


class VectorStore:
    """A vector store opened for writing; the only one at a time. Use it in a `with` block, or close it."""

    def __init__(
        self, directory: Path, recipe_digest: str, dim: int | None = None, lock: WriterLock | None = None
    ) -> None:
        """Open an existing store.

        With `dim`, one whose manifest is gone is opened too: as if empty, and readers find no manifest until
        `recovery.reconcile` has written it anew. `lock` is the store's where it is held already; it goes with the
        store, which lets it go.

        Raises:
            StoreMissingError: the directory holds none.
            StoreLockedError: another process is writing it; names the process.
            StoreDamagedError: the manifest cannot be read.
            CatalogError: the vectors in it were made by another recipe, or its files cannot be used.
        """
        if dim is not None:
            _make(directory)
        elif not directory.is_dir():
            raise StoreMissingError(f"There is no vector store {directory}.")
        self.directory = directory
        self.without_manifest = False
        self._lock = lock or WriterLock(directory)
        try:
            try:
                self.manifest = Manifest.read(directory)
            except StoreMissingError:
                if dim is None:
                    raise
                self.manifest = Manifest(version=0, recipe_digest=recipe_digest, dim=dim, segments=())
                self.without_manifest = True
            if self.manifest.recipe_digest != recipe_digest:
                raise CatalogError(
                    f"The vectors in {directory} were computed by the recipe "
                    f"{self.manifest.recipe_digest[:12]}, not by {recipe_digest[:12]}: make another index."
                )
        except BaseException:
            self._lock.release()
            raise
        self._places: dict[str, tuple[str, int]] | None = None

    @classmethod
    def create(cls, directory: Path, recipe_digest: str, dim: int, lock: WriterLock | None = None) -> "VectorStore":
        """Make an empty store, and open it. An empty store that is there already is replaced; `lock` as above.

        Raises:
            CatalogError: the directory holds vectors already, whether a manifest names them or not.
            StoreLockedError: another process is writing it.
        """
        _make(directory)
        lock = lock or WriterLock(directory)
        try:
            check_empty(directory)
            Manifest(version=0, recipe_digest=recipe_digest, dim=dim, segments=()).write(directory)
        except BaseException:
            lock.release()
            raise
        return cls(directory, recipe_digest, lock=lock)

    def __enter__(self) -> "VectorStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next writer in."""
        self._lock.release()

    def append(self, vectors: Mapping[str, NDArray[np.float32]]) -> str:
        """Write vectors to a new segment, durably, and give its name. No reader sees them until `publish`.

        Args:
            vectors: by clip id; each float32 [dim], finite, of length 1 (within 1e-3).

        Raises:
            ValueError: there is none, or one has another shape or length.
        """
        if not vectors:
            raise ValueError("There are no vectors to append.")
        ids = sorted(vectors)
        for clip_id in ids:
            vector = vectors[clip_id]
            if vector.shape != (self.manifest.dim,) or vector.dtype != np.float32:
                raise ValueError(
                    f"The vector of clip {clip_id!r} is {vector.dtype} {list(vector.shape)}, the index takes "
                    f"float32 [{self.manifest.dim}]."
                )
            # Written so that NaN is refused too.
            if not abs(float(np.linalg.norm(vector)) - 1.0) <= 1e-3:
                raise ValueError(f"The vector of clip {clip_id!r} has length {np.linalg.norm(vector)}, not 1.")
        return self._write(ids, np.stack([vectors[clip_id] for clip_id in ids]))

    def publish(self, names: Sequence[str], removed: Collection[str] = ()) -> None:
        """Make appended segments part of the index in one atomic step.

        A clip's older vector is replaced; of the segments named, the later wins.

        Args:
            names: what `append` or `merge` gave.
            removed: ids of clips that are to have no vector any more; those that have none are passed over.

        Raises:
            StoreDamagedError: a named segment is missing or damaged.
        """
        places = self._live_places()
        entries = {entry.name: entry for entry in self.manifest.segments if entry.name not in names}
        moved: dict[str, tuple[str, int]] = {}
        dead: dict[str, list[int]] = {}

        def bury(clip_id: str) -> None:
            place = moved.pop(clip_id, None) or places.get(clip_id)
            if place is not None and place[0] in entries:
                dead.setdefault(place[0], []).append(place[1])

        for name in names:
            opened = Segment.open(self.directory / name)
            for row, clip_id in enumerate(opened.ids.all()):
                bury(clip_id)
                moved[clip_id] = (name, row)
            entries[name] = SegmentEntry(name=name, sha256=opened.digest, count=opened.count)
            dead.pop(name, None)  # where the same segment was named before
        for clip_id in removed:
            bury(clip_id)
        before = {entry.name for entry in self.manifest.segments}
        self.replace(entry.without(dead.get(entry.name, ())) for entry in entries.values())
        places.update(moved)
        for clip_id in removed:
            places.pop(clip_id, None)
        self._places = places
        for name in before - {entry.name for entry in self.manifest.segments}:
            delete_segment(self.directory / name)

    def merge(self, names: Collection[str]) -> list[Merged]:
        """Write these published segments' live vectors anew, ordered by id, in full segments and a rest.

        What is written depends on the vectors alone, not on how they were spread before. Nothing changes for
        readers until the result is published, which drops the segments it replaces.

        Raises:
            StoreDamagedError: a segment is damaged.
        """
        opened = {
            entry.name: (Segment.open(self.directory / entry.name), set(entry.dead))
            for entry in self.manifest.segments
            if entry.name in names
        }
        live = sorted(
            (clip_id, name, row)
            for name, (source, dead) in opened.items()
            for row, clip_id in enumerate(source.ids.all())
            if row not in dead
        )
        merged = []
        for start in range(0, len(live), SEGMENT_ROWS):
            rows = live[start : start + SEGMENT_ROWS]
            vectors = np.empty((len(rows), self.manifest.dim), dtype=np.float32)
            for position, (_, name, row) in enumerate(rows):
                vectors[position] = opened[name][0].vectors[row]
            name = self._write([clip_id for clip_id, _, _ in rows], vectors)
            merged.append(Merged(name, rows[0][0], rows[-1][0]))
        return merged

    def small(self) -> list[str]:
        """Name the published segments that are less than half full."""
        return [entry.name for entry in self.manifest.segments if entry.live < SEGMENT_ROWS // 2]

    def canonical(self) -> bool:
        """Tell whether the index is as merging all of its segments would leave it."""
        segments = self.manifest.segments
        if any(entry.dead for entry in segments) or any(entry.count != SEGMENT_ROWS for entry in segments[:-1]):
            return False
        ids = [Segment.open(self.directory / entry.name).ids for entry in segments]
        return all(before[-1] < after[0] for before, after in pairwise(ids))

    def replace(self, entries: Iterable[SegmentEntry]) -> None:
        """Swap the manifest for one of these segments, in one atomic step; files stay where they are."""
        manifest = self.manifest.succeeded_by(entries)
        self._places = None  # read anew when next needed
        manifest.write(self.directory)
        self.manifest = manifest
        self.without_manifest = False

    def _write(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> str:
        with access_to(self.directory):
            path = write_segment(self.directory, ids, vectors)
            written = Segment.open(path)
            write_faiss_file(written)
            write_moments(written)
        return path.name

    def _live_places(self) -> dict[str, tuple[str, int]]:
        """Each live id's segment and row; read once, then kept up to date. About 200 bytes an id."""
        if self._places is None:
            self._places = {}
            for entry in self.manifest.segments:
                dead = set(entry.dead)
                for row, clip_id in enumerate(Segment.open(self.directory / entry.name).ids.all()):
                    if row not in dead:
                        self._places[clip_id] = (entry.name, row)
        return self._places


def check_empty(directory: Path) -> None:
    """See that a new store can be made in a directory.

    Raises:
        CatalogError: it holds vectors already, whether a manifest names them or not.
    """
    if any(directory.glob(f"*{SUFFIX}")):
        raise CatalogError(
            f"{directory} holds vectors already, of an index unknown to this catalog: "
            "name the catalog they belong to with MOTIONTRACE_DATABASE_URL, move the directory away, "
            "or choose another index name."
        )


def _make(directory: Path) -> None:
    with access_to(directory):
        directory.mkdir(parents=True, exist_ok=True)
        sync_directory(directory.parent)


def delete_segment(path: Path) -> None:
    """Delete a segment's file and what is derived beside it; readers that have mapped them keep them."""
    for file in (path, faiss_path(path), moments_path(path)):
        file.unlink(missing_ok=True)
