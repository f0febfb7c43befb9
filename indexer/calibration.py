"""Learning the basis of a new index: the directions that the sketches of a sample of its clips need.

The sample is spread over the manifest and drawn by a seed. Its sketches are kept on disk until the index is made. So
a killed run goes on where it stopped, and the run over all clips does not compute them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.basis import MIN_BASIS_CLIPS, Basis, learn_basis
from motiontrace.attribution.engine import ClipSketch, PreparedClip
from motiontrace.attribution.threads import Threads
from motiontrace.attribution.video import VideoLimits
from motiontrace.catalog.durable_files import access_to, sync_directory
from motiontrace.files import file_sha256
from motiontrace.indexer.ahead import ahead
from motiontrace.indexer.batches import Batches
from motiontrace.indexer.inspection import Failure, prepare
from motiontrace.indexer.sketches import KeptSketches, sketch_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from motiontrace.attribution.engine import MotionEngine
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.manifest import ManifestRow
    from motiontrace.indexer.summary import Captured


MAX_BASIS_CLIPS = 8192
"""Learning takes the square of their number in memory and the cube in time."""


@dataclass(frozen=True)
class CalibrationSettings:
    """How a basis is learned."""

    clips: int = 1024
    """Rows in the sample, from 1 to MAX_BASIS_CLIPS."""
    least: int = MIN_BASIS_CLIPS
    """Clips that a basis needs, 2 or more: the sample grows up to it, and without so many there is no basis."""
    seed: int = 0
    decoders: int = 2
    """Threads that decode ahead of the model."""
    limits: VideoLimits = VideoLimits()

    def __post_init__(self) -> None:
        """Raises ValueError for a sample that cannot be learned from."""
        if not 1 <= self.clips <= MAX_BASIS_CLIPS:
            raise ValueError(f"a basis is learned from 1 to {MAX_BASIS_CLIPS} clips, not {self.clips}")


@dataclass(frozen=True)
class Calibrated:
    """What came of it."""

    engine: MotionEngine
    """By the recipe that the new index is to be made with."""
    basis: Basis | None
    """None: too few clips move."""
    clips: int
    """Moving clips found."""


def calibrate(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    places: CatalogSettings,
    index: str,
    settings: CalibrationSettings = CalibrationSettings(),
    on_row: Callable[[int, int, int], None] | None = None,
) -> Calibrated:
    """Learn the basis of a new index and store it.

    Clips that cannot be used or do not move do not count; the run over all clips says why.

    Args:
        rows: of the manifest.
        engine: of the index's recipe, without a basis.
        places: say where bases and kept sketches are.
        index: name of the index.
        settings: how the basis is learned.
        on_row: is called with how many rows are done, of how many, and how many sketches an earlier run had kept.

    Raises:
        CatalogError: the disk takes no more.
        Exception: the engine fails on many clips in a row, which is no clip's own fault.
    """
    sample, reserve = draw_sample(len(rows), settings.clips, settings.seed)
    with Threads(settings.decoders) as pool:
        search = _Search(engine, KeptSketches(places, index, engine.recipe), settings, pool, on_row or _silent)
        while sample:
            search.take([rows[number] for number in sample])
            more = max(0, settings.least - len(search.sketches))
            sample, reserve = reserve[:more], reserve[more:]
    if len(search.sketches) < settings.least:
        return Calibrated(engine, None, len(search.sketches))
    basis = learn_basis(np.stack(list(search.sketches.values())), engine.recipe.dim)
    with access_to(places.basis_directory):
        basis.save(places.basis_directory)
        sync_directory(places.basis_directory)  # the index names it from here on
    return Calibrated(engine.with_basis(basis), basis, basis.clips)


def draw_sample(count: int, clips: int, seed: int) -> tuple[list[int], list[int]]:
    """`clips` of `count` rows, in their order, and the others, in a random order; the same for the same seed.

    The rows are cut into `clips` stretches of equal length, and one row is drawn from each.
    """
    random = np.random.RandomState(seed)  # numpy keeps its stream as it is
    clips = min(clips, count)
    edges = [number * count // clips for number in range(clips + 1)]
    sample = [int(random.randint(first, end)) for first, end in pairwise(edges)]
    return sample, random.permutation(np.setdiff1d(np.arange(count), sample)).tolist()


def no_longer_fits(basis: Basis, captured: Captured, least: int = MIN_BASIS_CLIPS) -> bool:
    """Whether clips are unlike those of the basis: it holds less than half as much of them as it should.

    `captured` is of clips that it was not learned from; fewer than `least` of them say nothing.
    """
    return captured.clips >= least and captured.mean < basis.captured / 2


@dataclass(frozen=True)
class _Candidate:
    """A clip of the sample: its sketch if that is kept already, else the clip prepared for the model."""

    row: ManifestRow
    key: str
    found: ClipSketch | PreparedClip


class _Search:
    """The sketches found so far."""

    def __init__(
        self,
        engine: MotionEngine,
        kept: KeptSketches,
        settings: CalibrationSettings,
        pool: Threads,
        on_row: Callable[[int, int, int], None],
    ) -> None:
        self.sketches: dict[str, NDArray[np.float32]] = {}
        """By key, so that a clip that is in the manifest twice counts once."""
        self._engine, self._kept, self._limits = engine, kept, settings.limits
        self._batches = Batches(engine)
        self._pool, self._depth = pool, max(2 * settings.decoders, self._batches.size)
        self._seen: set[str] = set()
        self._on_row, self._done, self._total, self._from_before = on_row, 0, 0, 0

    def take(self, rows: Sequence[ManifestRow]) -> None:
        """Sketches those of the rows that can be."""
        self._total += len(rows)
        group: list[_Candidate] = []
        for candidate in ahead(self._pool, self._look, rows, self._depth):
            if candidate is None or candidate.key in self._seen:
                self._tell(1)
                continue
            self._seen.add(candidate.key)
            group.append(candidate)
            if len(group) == self._batches.size:
                self._finish(group)
                group = []
        self._finish(group)

    def _look(self, row: ManifestRow) -> _Candidate | None:
        """None where the clip cannot be used or does not move."""
        try:
            key = sketch_key(file_sha256(row.video), row.caption)
        except (OSError, ValueError):  # no file, or text that is no text
            return None
        found = self._kept.load(key) or prepare(self._engine, row.video, self._limits)
        if isinstance(found, PreparedClip) and not found.motion.moves:
            return None
        return _Candidate(row, key, found) if isinstance(found, ClipSketch | PreparedClip) else None

    def _finish(self, group: list[_Candidate]) -> None:
        if any(isinstance(candidate.found, PreparedClip) for candidate in group):
            self._compute(group)
        else:
            self._from_before += len(group)
            for candidate in group:
                self._count(candidate.key, candidate.found)
        self._tell(len(group))

    def _compute(self, group: list[_Candidate]) -> None:
        """Computes the group's sketches, those that are kept too, and keeps them.

        A sketch's last bits depend on its batch, and the basis depends on all sketches. So a run that was killed within
        a group computes the whole group again, and ends with the same basis. That holds for the same batch size only:
        unless it is set, the engine chooses it by timing at each start.
        """
        ready: list[tuple[_Candidate, PreparedClip]] = []
        for candidate in group:
            clip: ClipSketch | PreparedClip | Failure = candidate.found
            if isinstance(clip, ClipSketch):
                clip = prepare(self._engine, candidate.row.video, self._limits)
            if isinstance(clip, PreparedClip):
                ready.append((candidate, clip))
        outcomes = self._batches.sketch([clip for _, clip in ready], [candidate.row.caption for candidate, _ in ready])
        for (candidate, _), outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, ClipSketch):
                self._kept.save(candidate.key, outcome)
            self._count(candidate.key, outcome)

    def _count(self, key: str, sketch: ClipSketch | PreparedClip | Failure) -> None:
        if isinstance(sketch, ClipSketch) and sketch.vector is not None:
            self.sketches[key] = sketch.vector

    def _tell(self, rows: int) -> None:
        self._done += rows
        self._on_row(self._done, self._total, self._from_before)


def _silent(done: int, total: int, kept: int) -> None:
    """Does nothing."""
