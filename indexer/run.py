"""Indexing: manifest rows in, published clips out, whatever happens on the way.

Threads decode ahead while the model computes gradients, of several clips at once where that pays. Finished clips are
published in groups, so a killed run loses minutes at most, and the next run goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from motiontrace.attribution.engine import PreparedClip
from motiontrace.attribution.errors import GradientError
from motiontrace.attribution.threads import Threads
from motiontrace.attribution.video import VideoLimits
from motiontrace.catalog.publishing import compact, publish_batch, withdraw
from motiontrace.catalog.repositories import ClipRepository, EntryRepository, EntryRow
from motiontrace.indexer.ahead import ahead
from motiontrace.indexer.batches import SURPRISES, Batches
from motiontrace.indexer.inspection import Failure, InspectedRow, Inspector, named_by_content
from motiontrace.indexer.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.attribution.engine import ClipSketch, MotionEngine
    from motiontrace.attribution.video import VideoInfo
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.repositories import ClipRow, Fingerprint
    from motiontrace.catalog.vectors.recovery import Reconciled
    from motiontrace.catalog.vectors.store import VectorStore
    from motiontrace.indexer.manifest import ManifestRow
    from motiontrace.indexer.sketches import KeptSketches
    from motiontrace.indexer.summary import Result


@dataclass(frozen=True)
class IndexingSettings:
    """How an indexing run works; none of it changes a vector by more than rounding."""

    decoders: int = 2
    """Threads that decode ahead of the model."""
    publish_clips: int = 64
    """Publish after so many clips,"""
    publish_seconds: float = 30.0
    """or after so many seconds, whichever comes first: what a killed run can lose."""
    surprises: int = SURPRISES
    """So many clips in a row that fail as none should end the run."""
    limits: VideoLimits = VideoLimits()


def index_clips(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    database: Database,
    store: VectorStore,
    index: IndexRecord,
    recovered: Reconciled,
    kept: KeptSketches,
    settings: IndexingSettings = IndexingSettings(),
    on_row: Callable[[Result, bool], None] | None = None,
) -> Summary:
    """Bring the open index up to `rows`, and say what became of each.

    Clips that the index holds unchanged are not computed again. A clip that cannot be used is recorded with its reason,
    and the run goes on. A row that the catalog cannot take is only reported: its id is another clip's in another
    index, or its text cannot be stored. On any exception, KeyboardInterrupt too, what is finished is published first.

    Args:
        rows: of the manifest.
        engine: of the index's recipe, with its basis.
        database: of the catalog.
        store: what `open_index` gave; so are `index` and `recovered`.
        index: the index.
        recovered: what was mended when it was opened.
        kept: sketches of the clips of a new index that were computed for its basis; used, and deleted at the end.
        settings: how the run works.
        on_row: is called with what became of a row, and whether nothing had to be computed for it.

    Raises:
        CatalogError: the index cannot be written.
    """
    start = time.monotonic()
    with database.reading() as session:
        entries = EntryRepository(session)
        files, fingerprints = entries.files(index.id), entries.fingerprints(index.id)
        elsewhere = entries.elsewhere(index.id, [row.id for row in rows if row.id is not None])
    inspector = Inspector(engine, settings.limits, files, fingerprints, elsewhere, kept)
    run = _Run(engine, database, store, index, settings, fingerprints, on_row or _silent)
    run.summary.recovered.extend(recovered.damage)
    run.summary.recovered.extend(f"{path} was set aside, neither used nor deleted" for path in recovered.set_aside)
    superseded: set[str] = set()
    depth = max(2 * settings.decoders, run.batches.size)
    with Threads(settings.decoders) as pool:
        try:
            for inspected in ahead(pool, inspector.inspect, rows, depth):
                if (clip := inspected.clip) is not None:
                    here = files.get(clip.path, ())
                    superseded |= {known.id for known in here if named_by_content(known, clip.path)} - {clip.id}
                run.take(inspected)
            run.compute()
        finally:
            run.publish()
    # Only now is it known that no other row has the old content.
    gone = superseded - run.seen.keys()
    withdraw(database, store, index, gone)
    compact(database, store, index)
    kept.clear()
    run.summary.problems = [text for _, text in sorted(run.problems)]
    run.summary.remarks = [text for _, text in sorted(run.remarks)]
    run.summary.broken_batches = run.batches.broken
    run.summary.withdrawn = len(gone)
    run.summary.seconds = time.monotonic() - start
    return run.summary


class _Run:
    """The state of one run: what waits for its batch, and what is finished and not yet published."""

    def __init__(
        self,
        engine: MotionEngine,
        database: Database,
        store: VectorStore,
        index: IndexRecord,
        settings: IndexingSettings,
        fingerprints: Mapping[str, Fingerprint],
        on_row: Callable[[Result, bool], None],
    ) -> None:
        self.summary = Summary()
        self.batches = Batches(engine, settings.surprises)
        self.seen: dict[str, ManifestRow] = {}
        self.problems: list[tuple[int, str]] = []
        """By the row's number: rows that wait for their batch are finished after later ones that need none."""
        self.remarks: list[tuple[int, str]] = []
        self._fingerprints = fingerprints
        self._engine, self._database, self._store, self._index = engine, database, store, index
        self._settings, self._on_row = settings, on_row
        self._waiting: list[tuple[InspectedRow, PreparedClip]] = []
        self._clips: list[ClipRow] = []
        self._entries: list[EntryRow] = []
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._known: list[ClipRow] = []
        """Clips that need not be computed, and are not yet written to the catalog."""
        self._published = time.monotonic()

    def take(self, inspected: InspectedRow) -> None:
        """Finishes a row, or lets its clip wait for its batch.

        Clips that have to be computed fill batches in the manifest's order, and a batch is published as a whole. So a
        run that goes on after a killed one forms the same batches, and computes the same last bits. That holds for the
        same batch size only: unless it is set, the engine chooses it by timing at each start.
        """
        row, clip, found = inspected.row, inspected.clip, inspected.result
        if clip is None:
            assert isinstance(found, Failure)
            self._problem(inspected, found.reason)
            self._finished("failed")
        elif (first := self.seen.setdefault(clip.id, row)) is not row:
            same = f"{row.video.name} is the same clip as in {first.where}; to keep both, give each an id"
            self._problem(inspected, same)
            self._finished("duplicate", kept=True)
        elif found is None:
            self._known.append(clip)
        elif not isinstance(found, PreparedClip):
            self._finished(self._record(inspected, clip, found), kept=not isinstance(found, Failure))
        elif not found.motion.moves:
            self._finished(self._record(inspected, clip, self.batches.sketch([found], [row.caption])[0]))
        else:
            self._waiting.append((inspected, found))
            if len(self._waiting) >= self.batches.size:
                self.compute()
        ready = len(self._entries) + len(self._known)
        late = time.monotonic() - self._published >= self._settings.publish_seconds
        if ready >= self._settings.publish_clips or (ready and late):
            self.publish()

    def compute(self) -> None:
        """Finishes the clips that wait."""
        waiting, self._waiting = self._waiting, []
        captions = [inspected.row.caption for inspected, _ in waiting]
        outcomes = self.batches.sketch([clip for _, clip in waiting], captions)
        for (inspected, _), outcome in zip(waiting, outcomes, strict=True):
            assert inspected.clip is not None
            self._finished(self._record(inspected, inspected.clip, outcome))

    def _finished(self, result: Result, *, kept: bool = False) -> None:
        self.summary.results[result] += 1
        self._on_row(result, kept)

    def _problem(self, inspected: InspectedRow, text: str) -> None:
        self.problems.append((inspected.row.number, f"{inspected.row.where}: {text}"))

    def _remark(self, inspected: InspectedRow, info: VideoInfo) -> None:
        row = inspected.row
        self.remarks += [(row.number, f"{row.where}: {row.video.name} {remark}") for remark in info.remarks]

    def _record(self, inspected: InspectedRow, clip: ClipRow, outcome: ClipSketch | Failure) -> Result:
        if isinstance(outcome, Failure):
            return self._record_failure(inspected, clip, outcome)
        try:
            gradient = self._engine.finish(outcome)
        except GradientError as error:
            return self._record_failure(inspected, clip, Failure("gradient", str(error)))
        info, motion, region = gradient.info, gradient.motion, gradient.region
        self._clips.append(
            replace(
                clip,
                width=info.width,
                height=info.height,
                frames=info.frames,
                seconds=info.seconds,
                fps=info.fps,
                codec=info.codec,
                damaged_frames=info.damaged_frames,
                time_jumps=info.time_jumps,
            )
        )
        self._remark(inspected, info)
        result: Literal["indexed", "no_motion"] = "no_motion"
        if gradient.vector is not None:
            self._vectors[clip.id] = gradient.vector
            result = "indexed"
        if gradient.captured is not None and isinstance(inspected.result, PreparedClip):
            self.summary.captured.clips += 1
            self.summary.captured.total += gradient.captured
        self._entries.append(
            EntryRow(
                clip_id=clip.id,
                outcome=result,
                fingerprint=inspected.fingerprint,
                motion_mean=motion.mean,
                motion_peak=motion.peak,
                motion_region=None if region is None else region.to_json(),
                compute_seconds=sum(gradient.seconds.values()),
            )
        )
        self.summary.stage_seconds.update(gradient.seconds)
        return result

    def _record_failure(self, inspected: InspectedRow, clip: ClipRow, failure: Failure) -> Result:
        known = self._fingerprints.get(clip.id)
        if failure.unreachable and known is not None and known.outcome != "failed":
            # A disk that is away for a night must not cost what took a week to compute.
            self._problem(inspected, f"{failure.reason}. What the index has of it is kept")
            return "unreachable"
        try:
            entry = EntryRow(
                clip_id=clip.id,
                outcome="failed",
                fingerprint=inspected.fingerprint,
                reason_code=failure.code,
                reason=failure.reason,
            )
        except ValueError as error:  # a decoder may quote the file's own bytes
            self._problem(inspected, f"{failure.code}. {error}")
            return "failed"
        self._problem(inspected, failure.reason)
        self._clips.append(clip)
        self._entries.append(entry)
        return "failed"

    def publish(self) -> None:
        """Makes everything finished part of the index."""
        if self._entries:
            publish_batch(self._database, self._store, self._index, self._clips, self._entries, self._vectors)
        known, self._known = self._known, []
        if known:
            with self._database.writing() as session:
                ClipRepository(session).refresh(known)
                updated = EntryRepository(session).refresh(self._index.id, known)
            for clip in known:
                self._finished("updated" if clip.id in updated else "unchanged", kept=True)
        self._clips, self._entries, self._vectors = [], [], {}
        self._published = time.monotonic()


def _silent(result: Result, kept: bool) -> None:
    """Does nothing."""
