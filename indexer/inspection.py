"""What a manifest row stands for: the file's identity, whether it changed, and the clip up to the model's door."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attribution.video import VideoError, VideoLimits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from attribution.engine import MotionEngine, PreparedClip
    from catalog.repositories import Fingerprint, KnownFile
    from indexer.manifest import ManifestRow

ID_LENGTH = 20  # hexadecimal digits: no two of ten million clips share them by chance


@dataclass(frozen=True)
class Failure:
    """Why a clip cannot be indexed: a code for programs and a sentence for people."""

    code: str
    reason: str


@dataclass(frozen=True)
class InspectedRow:
    """A manifest row with its file looked at."""

    row: ManifestRow
    id: str
    fingerprint: str
    """SHA-256 over the file's digest, the caption and the recipe: equal means nothing has to be computed again."""
    sha256: str | None
    bytes: int | None
    modified_ns: int | None
    result: PreparedClip | Failure | None
    """None: the index holds this clip unchanged."""


class Inspector:
    """Looks at rows; safe to call from several threads."""

    def __init__(self, engine: MotionEngine, limits: VideoLimits, files: Mapping[str, KnownFile],
                 fingerprints: Mapping[str, Fingerprint]) -> None:  # fmt: skip
        self._engine = engine
        self._limits = limits
        self._files = files
        self._fingerprints = fingerprints

    def inspect(self, row: ManifestRow) -> InspectedRow:
        """Never raises for what is wrong with one clip: that is its result."""
        try:
            stat = row.video.stat()
            sha256 = self._content_digest(row.video, stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            return self._unreadable(row, error)
        clip_id = row.id or sha256[:ID_LENGTH]
        fingerprint = self._fingerprint(sha256, row.caption)
        known = self._fingerprints.get(clip_id)
        result: PreparedClip | Failure | None = None
        # What failed is tried again: the reason may have been mended.
        if known is None or known.fingerprint != fingerprint or known.outcome == "failed":
            result = self._prepare(row.video)
        return InspectedRow(row, clip_id, fingerprint, sha256, stat.st_size, stat.st_mtime_ns, result)

    def _prepare(self, path: Path) -> PreparedClip | Failure:
        try:
            return self._engine.prepare(path, limits=self._limits)
        except VideoError as error:
            return Failure(error.code, str(error))
        except Exception as error:  # a decoder's surprise costs one clip, not a night's run
            return Failure("unexpected", f"{type(error).__name__}: {error}")

    def _unreadable(self, row: ManifestRow, error: OSError) -> InspectedRow:
        if isinstance(error, FileNotFoundError):
            failure = Failure("missing_file", f"there is no file {row.video}; correct the path in the manifest")
        else:
            failure = Failure("unreadable_file", f"{row.video} cannot be read: {error.strerror}")
        known = self._files.get(str(row.video))
        clip_id = row.id or (known.id if known else _digest(str(row.video))[:ID_LENGTH])
        return InspectedRow(row, clip_id, self._fingerprint("", row.caption), None, None, None, failure)

    def _fingerprint(self, sha256: str, caption: str) -> str:
        return _digest(f"{sha256}\0{caption}\0{self._engine.recipe.digest}")

    def _content_digest(self, path: Path, size: int, modified_ns: int) -> str:
        known = self._files.get(str(path))
        # As make and rsync do: same size and time of change, same content. Spares reading terabytes on a second run.
        if known is not None and known.sha256 and (known.bytes, known.modified_ns) == (size, modified_ns):
            return known.sha256
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
