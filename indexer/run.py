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
from catalog.publishing import compact, publish_batch, withdraw
from catalog.repositories import ClipRepository, EntryRepository, EntryRow
from indexer.inspection import Failure, InspectedRow, Inspector, named_by_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from attribution.engine import ClipGradient, MotionEngine, PreparedClip
    from catalog.database import Database
    from catalog.records import IndexRecord
    from catalog.repositories import ClipRow, Fingerprint
    from catalog.vectors.recovery import Reconciled
    from catalog.vectors.store import VectorStore
    from indexer.manifest import ManifestRow

Result = Literal["indexed", "no_motion", "failed", "unchanged", "duplicate", "unreachable"]
_SURPRISES = 10  # clips in a row that fail as none should: then it is the machine, not the clips


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
    """A line for each row that failed, was refused or named a clip twice, in the manifest's order."""
    recovered: list[str] = field(default_factory=list)
    """What was damaged when the index was opened, and which files were set aside, neither used nor deleted."""
    withdrawn: int = 0
    """Clips taken out because their file has other content now, or an id of its own."""
    stage_seconds: Counter[str] = field(default_factory=Counter)
    """Work seconds by stage; stages run side by side, so they add up to more than the run took."""
    seconds: float = 0.0


def index_clips(rows: Sequence[ManifestRow], engine: MotionEngine, database: Database, store: VectorStore,
                index: IndexRecord, recovered: Reconciled, settings: IndexingSettings = IndexingSettings(),
                on_row: Callable[[Result], None] | None = None) -> Summary:  # fmt: skip
    """Brings the open index up to ``rows`` and returns what became of each; ``on_row`` hears of every row.

    ``store``, ``index`` and ``recovered`` are what ``open_index`` gave. A clip that cannot be used is recorded with its
    reason and the run goes on; a row that the catalog cannot take (an id that is another clip in another index, text
    that is no text) is only reported. Clips that the index holds unchanged are not computed again. On any exception,
    KeyboardInterrupt too, what is finished is published before it is raised on. Raises catalog errors where the index
    itself cannot be written.
    """
    start = time.monotonic()
    with database.reading() as session:
        entries = EntryRepository(session)
        files, fingerprints = entries.files(index.id), entries.fingerprints(index.id)
        elsewhere = entries.elsewhere(index.id, [row.id for row in rows if row.id is not None])
    inspector = Inspector(engine, settings.limits, files, fingerprints, elsewhere)
    run = _Run(engine, database, store, index, settings, fingerprints)
    run.summary.recovered.extend(recovered.damage)
    run.summary.recovered.extend(f"{path} was set aside, neither used nor deleted" for path in recovered.set_aside)
    superseded: set[str] = set()
    with ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode") as pool:
        try:
            for inspected in _ahead(pool, inspector, rows, 2 * settings.decoders):
                if (clip := inspected.clip) is not None:
                    here = files.get(clip.path, ())
                    superseded |= {known.id for known in here if named_by_content(known, clip.path)} - {clip.id}
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
                 settings: IndexingSettings, fingerprints: Mapping[str, Fingerprint]) -> None:  # fmt: skip
        self.summary = Summary()
        self._fingerprints = fingerprints
        self._surprises = 0
        self.seen: dict[str, int] = {}
        self._engine, self._database, self._store, self._index = engine, database, store, index
        self._settings = settings
        self._clips: list[ClipRow] = []
        self._entries: list[EntryRow] = []
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._unchanged: list[ClipRow] = []
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
        row, clip = inspected.row, inspected.clip
        if clip is None:
            assert isinstance(inspected.result, Failure)
            self.summary.problems.append(f"row {row.number}: {inspected.result.reason}")
            return "failed"
        first = self.seen.setdefault(clip.id, row.number)
        if first != row.number:
            self.summary.problems.append(
                f"row {row.number}: {row.video.name} is the same clip as row {first}; to keep both, give each an id"
            )
            return "duplicate"
        if inspected.result is None:
            self._unchanged.append(clip)
            return "unchanged"
        outcome: Failure | ClipGradient
        if isinstance(inspected.result, Failure):
            outcome = inspected.result
        else:
            outcome = self._gradient(inspected.result, row.caption)
        if isinstance(outcome, Failure):
            known = self._fingerprints.get(clip.id)
            if outcome.unreachable and known is not None and known.outcome != "failed":
                # A disk that is away for a night must not cost what took a week to compute.
                self.summary.problems.append(f"row {row.number}: {outcome.reason}. What the index has of it is kept")
                return "unreachable"
            try:
                entry = EntryRow(clip_id=clip.id, outcome="failed", fingerprint=inspected.fingerprint,
                                 reason_code=outcome.code, reason=outcome.reason)  # fmt: skip
            except ValueError as error:  # a decoder may quote the file's own bytes
                self.summary.problems.append(f"row {row.number}: {outcome.code}. {error}")
                return "failed"
            self.summary.problems.append(f"row {row.number}: {outcome.reason}")
            self._clips.append(clip)
            self._entries.append(entry)
            return "failed"
        info, motion = outcome.info, outcome.motion
        self._clips.append(replace(clip, width=info.width, height=info.height, frames=info.frames,
                                   seconds=info.seconds, fps=info.fps, codec=info.codec))  # fmt: skip
        result: Literal["indexed", "no_motion"] = "no_motion"
        if outcome.vector is not None:
            self._vectors[clip.id] = outcome.vector
            result = "indexed"
        self._entries.append(EntryRow(clip_id=clip.id, outcome=result, fingerprint=inspected.fingerprint,
                                      motion_mean=motion.mean, motion_peak=motion.peak,
                                      compute_seconds=sum(outcome.seconds.values())))  # fmt: skip
        self.summary.stage_seconds.update(outcome.seconds)
        return result

    def _gradient(self, clip: PreparedClip, caption: str) -> Failure | ClipGradient:
        try:
            outcome = self._engine.gradient(clip, caption)
        except GradientError as error:
            return Failure("gradient", str(error))
        except Exception as error:
            self._surprises += 1
            if self._surprises >= _SURPRISES:
                raise
            return Failure("unexpected", f"{type(error).__name__}: {error}")
        self._surprises = 0
        return outcome

    def publish(self) -> None:
        """Makes everything finished part of the index."""
        if self._entries:
            publish_batch(self._database, self._store, self._index, self._clips, self._entries, self._vectors)
        if self._unchanged:
            with self._database.writing() as session:
                ClipRepository(session).refresh(self._unchanged)
        self._clips, self._entries, self._vectors, self._unchanged = [], [], {}, []
        self._published = time.monotonic()
