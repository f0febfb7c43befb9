"""The offline job: manifest rows in, a published index out, whatever happens on the way.

Decoding runs ahead in threads while the model differentiates the clip before. Finished clips are published in
batches, so a killed run loses minutes at most and the next one goes on behind it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from attribution.errors import GradientError
from attribution.video import VideoLimits
from catalog.publishing import compact, publish_batch, recover, withdraw
from catalog.repositories import ClipRepository, ClipRow, EntryRepository, EntryRow
from indexer.inspection import Failure, InspectedRow, Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from attribution.engine import ClipGradient, MotionEngine
    from catalog.database import Database
    from catalog.records import IndexRecord, Outcome
    from catalog.vectors.store import VectorStore
    from indexer.manifest import ManifestRow

Result = Literal["indexed", "no_motion", "failed", "unchanged", "duplicate"]


@dataclass(frozen=True)
class IndexingSettings:
    """How an indexing run works; none of it changes a vector."""

    decoders: int = 2
    """Threads that decode ahead of the model."""
    publish_clips: int = 64
    """Publish after so many clips,"""
    publish_seconds: float = 30.0
    """or after so many seconds, whichever comes first: what a killed run can lose."""
    limits: VideoLimits = VideoLimits()


@dataclass
class Summary:
    """What became of the rows of a run."""

    results: Counter[Result] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """A line for each clip that failed or was named twice, in the manifest's order."""
    recovered: list[str] = field(default_factory=list)
    """What an earlier run's end had left to mend."""
    withdrawn: int = 0
    """Clips taken out because their file's content has changed."""
    stage_seconds: Counter[str] = field(default_factory=Counter)
    """Work seconds by stage; stages run side by side, so they add up to more than the run took."""
    seconds: float = 0.0


def index_clips(rows: Sequence[ManifestRow], engine: MotionEngine, database: Database, store: VectorStore,
                index: IndexRecord, settings: IndexingSettings = IndexingSettings(),
                on_row: Callable[[Result], None] | None = None) -> Summary:  # fmt: skip
    """Brings the open index up to ``rows`` and returns what became of each; ``on_row`` hears of every row.

    A clip that cannot be used is recorded with its reason and the run goes on. Clips that the index holds unchanged
    are not computed again. On any exception, KeyboardInterrupt too, what is finished is published before it is
    raised on. Raises catalog errors where the index itself cannot be written.
    """
    start = time.monotonic()
    recovered = recover(database, store, index)
    with database.reading() as session:
        entries = EntryRepository(session)
        files, fingerprints = entries.files(index.id), entries.fingerprints(index.id)
    inspector = Inspector(engine, settings.limits, files, fingerprints)
    run = _Run(engine, database, store, index, settings)
    run.summary.recovered.extend(recovered.damage)
    superseded: set[str] = set()
    with ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode") as pool:
        try:
            for inspected in _ahead(pool, inspector, rows, 2 * settings.decoders):
                known = files.get(str(inspected.row.video))
                if inspected.row.id is None and known is not None and known.id != inspected.id:
                    superseded.add(known.id)
                result = run.take(inspected)
                if on_row is not None:
                    on_row(result)
        finally:
            run.publish()
    # Only now is it known that no other row has the old content.
    gone = superseded - run.seen.keys()
    withdraw(database, store, index, gone)
    compact(database, store, index)
    run.summary.withdrawn = len(gone)
    run.summary.seconds = time.monotonic() - start
    return run.summary


def _ahead(pool: ThreadPoolExecutor, inspector: Inspector, rows: Sequence[ManifestRow], depth: int
           ) -> Iterator[InspectedRow]:  # fmt: skip
    """Inspected rows in the manifest's order, ``depth`` of them under way."""
    waiting: deque[Future[InspectedRow]] = deque()
    try:
        for row in rows:
            waiting.append(pool.submit(inspector.inspect, row))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class _Run:
    """The state of one run: what is finished and not yet published."""

    def __init__(self, engine: MotionEngine, database: Database, store: VectorStore, index: IndexRecord,
                 settings: IndexingSettings) -> None:  # fmt: skip
        self.summary = Summary()
        self.seen: dict[str, int] = {}
        self._engine, self._database, self._store, self._index = engine, database, store, index
        self._settings = settings
        self._clips: list[ClipRow] = []
        self._entries: list[EntryRow] = []
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._unchanged: list[InspectedRow] = []
        self._published = time.monotonic()

    def take(self, inspected: InspectedRow) -> Result:
        """Finishes one clip; publishes when enough have come together."""
        result = self._finish(inspected)
        self.summary.results[result] += 1
        waiting = len(self._entries) + len(self._unchanged)
        if waiting >= self._settings.publish_clips or (
            waiting and time.monotonic() - self._published >= self._settings.publish_seconds
        ):
            self.publish()
        return result

    def _finish(self, inspected: InspectedRow) -> Result:
        row = inspected.row
        first = self.seen.setdefault(inspected.id, row.number)
        if first != row.number:
            self.summary.problems.append(
                f"row {row.number}: {row.video.name} is the same clip as row {first}; to keep both, give each an id"
            )
            return "duplicate"
        if inspected.result is None:
            self._unchanged.append(inspected)
            return "unchanged"
        outcome: Failure | ClipGradient
        if isinstance(inspected.result, Failure):
            outcome = inspected.result
        else:
            try:
                outcome = self._engine.gradient(inspected.result, row.caption)
            except GradientError as error:
                outcome = Failure("gradient", str(error))
        try:
            clip = _clip_row(inspected, outcome)
        except ValueError as error:  # an id or metadata that no database takes
            self.summary.problems.append(f"row {row.number}: {error}")
            return "failed"
        self._clips.append(clip)
        if isinstance(outcome, Failure):
            self.summary.problems.append(f"row {row.number}: {outcome.reason}")
            self._entries.append(_entry_row(inspected, "failed", reason_code=outcome.code, reason=outcome.reason))
            return "failed"
        self.summary.stage_seconds.update(outcome.seconds)
        moves = outcome.vector is not None
        if outcome.vector is not None:
            self._vectors[inspected.id] = outcome.vector
        entry = _entry_row(inspected, "indexed" if moves else "no_motion")
        self._entries.append(
            replace(
                entry,
                motion_mean=outcome.motion.mean,
                motion_peak=outcome.motion.peak,
                compute_seconds=sum(outcome.seconds.values()),
            )
        )
        return "indexed" if moves else "no_motion"

    def publish(self) -> None:
        """Makes everything finished part of the index."""
        if self._entries:
            publish_batch(self._database, self._store, self._index, self._clips, self._entries, self._vectors)
        if self._unchanged:
            self._refresh_metadata()
        self._clips, self._entries, self._vectors, self._unchanged = [], [], {}, []
        self._published = time.monotonic()

    def _refresh_metadata(self) -> None:
        """Paths and metadata may change without anything to compute."""
        rows = {inspected.id: inspected for inspected in self._unchanged}
        with self._database.writing() as session:
            clips = ClipRepository(session)
            for clip_id, clip in clips.get_many(rows).items():
                row = rows[clip_id]
                clip.path, clip.extra, clip.modified_ns = str(row.row.video), row.row.metadata, row.modified_ns


def _clip_row(inspected: InspectedRow, outcome: Failure | ClipGradient) -> ClipRow:
    row = inspected.row
    clip = ClipRow(id=inspected.id, path=str(row.video), caption=row.caption, sha256=inspected.sha256,
                   bytes=inspected.bytes, modified_ns=inspected.modified_ns, extra=row.metadata)  # fmt: skip
    if isinstance(outcome, Failure):
        return clip
    info = outcome.info
    return replace(clip, width=info.width, height=info.height, frames=info.frames, seconds=info.seconds, fps=info.fps,
                   codec=info.codec)  # fmt: skip


def _entry_row(inspected: InspectedRow, outcome: Outcome, reason_code: str | None = None, reason: str | None = None
               ) -> EntryRow:  # fmt: skip
    return EntryRow(clip_id=inspected.id, outcome=outcome, fingerprint=inspected.fingerprint, reason_code=reason_code,
                    reason=reason)  # fmt: skip
