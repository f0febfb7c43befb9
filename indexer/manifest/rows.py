"""One clip as a manifest names it, made of the values of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from motiontrace.catalog.repositories import ClipRow
from motiontrace.indexer.manifest.refusing import RowError
from motiontrace.indexer.manifest.values import id_of, metadata_of, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.indexer.manifest.locating import Locator

VIDEO_COLUMNS = ("video", "file_name", "path")
CAPTION_COLUMNS = ("caption", "text", "prompt")
ID_COLUMNS = ("id",)


@dataclass(frozen=True)
class ManifestRow:
    """One clip as the manifest names it."""

    number: int
    """Its place in the manifest, from 1; refused rows count."""
    video: Path
    """Absolute path of the file."""
    caption: str
    id: str | None
    """The user's id; None to take one from the file's content."""
    metadata: dict[str, Any] = field(default_factory=dict)
    found: bool = True
    """Whether something was at the path when the manifest was read."""
    place: str = ""
    """Where the row is written: "line 7", "row 7", or the name of the file that holds it alone."""

    @property
    def where(self) -> str:
        """Where the row is written, for people; its number where nobody knows."""
        return self.place or f"row {self.number}"


class Columns(NamedTuple):
    """Which columns hold what a clip needs; None: no column does."""

    video: str | None
    caption: str | None
    id: str | None


@lru_cache(maxsize=256)
def columns_of(names: tuple[str, ...]) -> Columns:
    """The columns among `names` that hold a video's path, its caption and its id, in any case."""
    folded = {name.strip().casefold(): name for name in reversed(names)} | {name: name for name in names}
    video, caption, clip_id = (
        next((folded[name] for name in wanted if name in folded), None)
        for wanted in (VIDEO_COLUMNS, CAPTION_COLUMNS, ID_COLUMNS)
    )
    return Columns(video, caption, clip_id)


def make_row(number: int, place: str, values: dict[str, Any], locator: Locator) -> ManifestRow:
    """The clip of a row.

    Raises:
        RowError: a value is missing, of another type, or none that the catalog could store.
    """
    columns = columns_of(tuple(values))
    video_column = _needed(columns.video, values, VIDEO_COLUMNS, "the video's path")
    caption_column = _needed(columns.caption, values, CAPTION_COLUMNS, "the caption")
    name = text_of(values[video_column], video_column, "the video's path")
    caption = text_of(values[caption_column], caption_column, "the caption")
    clip_id = None if columns.id is None else id_of(values[columns.id], columns.id)
    metadata = metadata_of({key: value for key, value in values.items() if key not in columns})
    video, found = locator.find(name)
    try:  # what the catalog could not store is better said now than after hours of computing
        ClipRow(id=clip_id or "of-content", path=str(video), caption=caption)
    except ValueError as error:
        raise RowError("text that cannot be stored", str(error)) from error
    return ManifestRow(number, video, caption, clip_id, metadata, found, place)


def _needed(column: str | None, values: dict[str, Any], names: tuple[str, ...], what: str) -> str:
    if column is None:
        raise RowError(
            f"no column for {what}",
            f"there is no column for {what}: name it {' or '.join(map(repr, names))}. Columns found:"
            f" {', '.join(map(str, values)) or 'none'}.",
        )
    return column
