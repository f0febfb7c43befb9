"""What a manifest row stands for: the file's identity, whether it changed, and the clip up to the model's door."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from motiontrace.attribution.video import VideoError, VideoLimits, read_video
from motiontrace.catalog.repositories import ClipRow
from motiontrace.files import FileError, check_file, file_sha256
from motiontrace.indexer.sketches import sketch_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from motiontrace.attribution.engine import ClipSketch, MotionEngine, PreparedClip
    from motiontrace.catalog.repositories import Fingerprint, KnownFile, OtherUse
    from motiontrace.indexer.manifest import ManifestRow
    from motiontrace.indexer.sketches import KeptSketches

ID_LENGTH = 20  # hexadecimal digits: no two of ten million clips share them by chance

_CODES = {"unreadable": "unreadable_file", "empty": "empty_file"}


@dataclass(frozen=True)
class Failure:
    """Why a clip cannot be indexed: a code for programs and a sentence for people."""

    code: str
    reason: str
    unreachable: bool = False
    """The file cannot be read now, which says nothing of what the index has of it."""


@dataclass(frozen=True)
class InspectedRow:
    """A manifest row with its file looked at."""

    row: ManifestRow
    clip: ClipRow | None
    """The clip as far as it is known without decoding; None: the catalog cannot take the row, `result` says why."""
    fingerprint: str
    """SHA-256 over the file's digest, the caption and the recipe: equal means nothing has to be computed again."""
    result: PreparedClip | ClipSketch | Failure | None
    """A sketch was computed already, for the basis; None: the index holds this clip unchanged."""


class Inspector:
    """Looks at rows; safe to call from several threads."""

    def __init__(
        self,
        engine: MotionEngine,
        limits: VideoLimits,
        files: Mapping[str, list[KnownFile]],
        fingerprints: Mapping[str, Fingerprint],
        elsewhere: Mapping[str, OtherUse],
        kept: KeptSketches,
    ) -> None:
        self._engine = engine
        self._kept = kept
        self._limits = limits
        self._files = files
        self._fingerprints = fingerprints
        self._elsewhere = elsewhere

    def inspect(self, row: ManifestRow) -> InspectedRow:
        """Never raises for what is wrong with one clip: that is its result."""
        try:
            # Before anything is read: with some of what no database takes, no file can be named either.
            clip = ClipRow(id=row.id or "unnamed", path=str(row.video), caption=row.caption, extra=row.metadata)
        except ValueError as error:
            return InspectedRow(row, None, "", Failure("not_storable", str(error)))
        failure: Failure | None = None
        try:
            stat = check_file(row.video)
            sha256 = self._content_digest(row.video, stat.st_size, stat.st_mtime_ns)
            clip = replace(
                clip, id=row.id or sha256[:ID_LENGTH], sha256=sha256, bytes=stat.st_size, modified_ns=stat.st_mtime_ns
            )
        except OSError as error:
            failure = unreadable(row.video, error)
            known_files = self._files.get(clip.path)
            clip = replace(clip, id=row.id or (known_files[0].id if known_files else _id_of_path(clip.path)))
        fingerprint = _digest(f"{clip.sha256 or ''}\0{row.caption}\0{self._engine.recipe.digest}")
        if (conflict := self._conflict(clip)) is not None:
            return InspectedRow(row, None, fingerprint, conflict)
        if failure is not None:
            return InspectedRow(row, clip, fingerprint, failure)
        known = self._fingerprints.get(clip.id)
        result: PreparedClip | ClipSketch | Failure | None = None
        # What failed is tried again: the reason may have been mended.
        if known is None or known.fingerprint != fingerprint or known.outcome == "failed":
            kept = self._kept.load(sketch_key(clip.sha256 or "", row.caption))
            result = kept or prepare(self._engine, row.video, self._limits)
        return InspectedRow(row, clip, fingerprint, result)

    def _conflict(self, clip: ClipRow) -> Failure | None:
        """Why the row's id cannot be used: all indexes share the clips, so one id is one clip."""
        other = self._elsewhere.get(clip.id)
        if other is None or other.path == clip.path or (clip.sha256 is not None and other.sha256 == clip.sha256):
            return None
        if any(known.id == clip.id for known in self._files.get(clip.path, ())):
            return None  # this index has it already, at this path: its content is new
        return Failure(
            "id_conflict",
            f"the id {clip.id!r} is another clip in the index {other.index_name!r} ({other.path}), and an id is one "
            "clip in all indexes; give this one another id, or use another MOTIONTRACE_HOME",
        )

    def _content_digest(self, path: Path, size: int, modified_ns: int) -> str:
        for known in self._files.get(str(path), ()):
            # As make and rsync do: same size and time of change, same content. Spares reading terabytes again.
            if known.sha256 and (known.bytes, known.modified_ns) == (size, modified_ns):
                return known.sha256
        return file_sha256(path)


def prepare(engine: MotionEngine, path: Path, limits: VideoLimits) -> PreparedClip | Failure:
    """The clip up to the model's door, or why it does not get there."""
    try:
        return engine.prepare(path, decode=partial(read_video, limits=limits))
    except VideoError as error:
        return Failure(error.code, str(error))
    except Exception as error:  # a decoder's surprise costs one clip, not a night's run
        return Failure("unexpected", f"{type(error).__name__}: {error}")


def unreadable(path: Path, error: OSError) -> Failure:
    """Why a file that was to be read could not be."""
    if not isinstance(error, FileError):
        return Failure("unreadable_file", f"{path} cannot be read: {error.strerror}", unreachable=True)
    if error.code == "missing":
        return Failure("missing_file", f"{error}; correct the path in the manifest", unreachable=True)
    return Failure(_CODES.get(error.code, "not_a_file"), str(error), unreachable=error.code == "unreadable")


def named_by_content(known: KnownFile, path: str) -> bool:
    """Whether a clip's id came from its file, so that it goes when the file has other content or gets an id."""
    return known.id == (known.sha256[:ID_LENGTH] if known.sha256 else _id_of_path(path))


def _id_of_path(path: str) -> str:
    """The id of a clip whose file could not be read and that has none of its own."""
    return _digest(path)[:ID_LENGTH]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
