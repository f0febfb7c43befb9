"""A clip as runs hand it over to be stored, and what its id may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from motiontrace.catalog.repositories.storable import check_storable

MAX_ID = 200  # characters


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """A clip to be stored.

    Raises:
        ValueError: the id cannot be part of an address: it must have 1 to 200 printable characters, no '/',
            no space at either end, and not be '.' or '..'. Or the path, the caption or the metadata is not
            storable, see `check_storable`.
    """

    id: str  # the user's, or a digest of the content; never a row number
    path: str  # absolute
    caption: str
    sha256: str | None = None  # of the file, hex; None where it could not be read
    bytes: int | None = None
    modified_ns: int | None = None  # of the file: with its size, tells an unchanged file without reading it
    extra: dict[str, Any] = field(default_factory=dict)  # the manifest's other columns, JSON values
    # As decoded and displayed; None where it could not be decoded.
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    codec: str | None = None
    damaged_frames: int | None = None
    time_jumps: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= MAX_ID:
            raise ValueError(f"The clip id {self.id[:40]!r} has {len(self.id)} characters: use 1 to {MAX_ID}.")
        if self.id in {".", ".."} or "/" in self.id or self.id != self.id.strip() or not self.id.isprintable():
            raise ValueError(
                f"The clip id {self.id!r} cannot be part of an address: use printable characters other than "
                "'/', with no space at either end, and not '.' or '..' alone."
            )
        check_storable("The path", self.path)
        check_storable("The caption", self.caption)
        check_storable("The metadata", self.extra)
