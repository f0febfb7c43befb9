"""Reading a manifest: which clips, with which captions, in the ways people keep them.

CSV (with a header), JSON Lines, Parquet, or a folder with a ``metadata.jsonl`` or ``metadata.csv`` (the Hugging
Face video-folder convention). A row needs a video and a caption; an ``id`` is optional and must be unique; every other
column is kept as the clip's metadata. Paths are relative to the manifest's own folder.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as parquet
from pyarrow.lib import ArrowException

from catalog.repositories import ClipRow
from indexer.curators import NEMO_METADATA, is_data_juicer, nemo_files, read_data_juicer, read_nemo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VIDEO_COLUMNS = ("video", "file_name", "path")
CAPTION_COLUMNS = ("caption", "text", "prompt")
_FOLDER_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class ManifestError(ValueError):
    """A manifest cannot be read; says which file, line and column, and what is expected there."""


@dataclass(frozen=True)
class ManifestRow:
    """One clip as the manifest names it."""

    number: int
    """Its place in the manifest, from 1."""
    video: Path
    """Absolute path of the file; nobody has looked yet whether it is there."""
    caption: str
    id: str | None
    """The user's id; None to take one from the file's content."""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where a row is written."""

    file: Path
    line: int | None = None
    """None: the file holds this row alone."""

    @property
    def short(self) -> str:
        return self.file.name if self.line is None else f"line {self.line}"

    def __str__(self) -> str:
        return str(self.file) if self.line is None else f"{self.file}, line {self.line}"


def read_manifest(source: Path, on_left_out: Callable[[str], None] = lambda said: None) -> list[ManifestRow]:
    """All rows of a manifest file or folder, in its order.

    ``on_left_out`` hears of clips that a curator has written but that cannot be indexed, where and why. Raises
    ManifestError where the manifest cannot be read, a needed column is missing or empty, an id is used twice, or the
    catalog could not store a value.
    """
    file = _find(source)
    root = file.resolve() if file.is_dir() else file.resolve().parent
    rows: list[ManifestRow] = []
    seen: dict[str, _Place] = {}
    for place, values in _read(file, on_left_out):
        row = _row(place, root, len(rows) + 1, values)
        if row.id is not None and (before := seen.setdefault(row.id, place)) is not place:
            raise ManifestError(f"{place}: the id {row.id!r} is used in {before.short} already; ids must be unique.")
        rows.append(row)
    if not rows:
        raise ManifestError(f"{file} holds no clips.")
    return rows


def _find(source: Path) -> Path:
    if source.is_dir():
        for name in _FOLDER_FILES:
            if (source / name).is_file():
                return source / name
        if (source / NEMO_METADATA).is_dir():
            return source
        raise ManifestError(
            f"the folder {source} has no {', '.join(_FOLDER_FILES[:-1])} or {_FOLDER_FILES[-1]}. Write one with a"
            ' line a clip: {"file_name": "a.mp4", "caption": "a ball falls"}'
        )
    if not source.is_file():
        raise ManifestError(f"there is no file or folder {source}.")
    return source


def _read(file: Path, on_left_out: Callable[[str], None]) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """Each clip's values and where they are written; of a folder those of NeMo Curator."""
    if file.is_dir():
        yield from _read_nemo_folder(file, on_left_out)
        return
    readers: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
        ".csv": _read_csv, ".jsonl": _read_json_lines, ".parquet": _read_parquet,
    }  # fmt: skip
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise ManifestError(
            f"{file} is no manifest: its name must end in .csv, .jsonl or .parquet, or it must be a folder."
        )
    for line, values in reader(file):
        place = _Place(file, line)
        if not is_data_juicer(values):
            yield place, values
            continue
        try:
            clips = read_data_juicer(values)
        except ValueError as error:
            raise ManifestError(f"{place}: {error}.") from error
        if not clips:
            on_left_out(f"{place}: it has no video")
        for clip in clips:
            yield place, clip


def _read_nemo_folder(folder: Path, on_left_out: Callable[[str], None]) -> Iterator[tuple[_Place, dict[str, Any]]]:
    left_out = found = 0
    for file in nemo_files(folder):
        try:
            clip = read_nemo(file, folder.resolve())
        except (OSError, ValueError) as error:
            raise ManifestError(f"{file} cannot be read as a clip of NeMo Curator: {error}.") from error
        if isinstance(clip, str):
            left_out += 1
            on_left_out(f"{file}: {clip}")
        else:
            found += 1
            yield _Place(file), clip
    if left_out and not found:
        raise ManifestError(
            f"none of the {left_out:,} clips in {folder} has a caption: run NeMo Curator with captions"
            " (generate_captions), or write them into a manifest."
        )


def _row(place: _Place, root: Path, number: int, values: dict[str, Any]) -> ManifestRow:
    video_column = _column(place, values, VIDEO_COLUMNS, "the video's path")
    caption_column = _column(place, values, CAPTION_COLUMNS, "the caption")
    if not isinstance(values[video_column], str):
        kind = type(values[video_column]).__name__
        raise ManifestError(f"{place}: the column {video_column!r} holds a {kind}; a path is expected.")
    video, caption = values[video_column].strip(), str(values[caption_column]).strip()
    if "://" in video:
        raise ManifestError(f"{place}: {video} is an address. Nothing is downloaded: give the path of a local file.")
    clip_id = None if values.get("id") in (None, "") else str(values["id"])
    metadata = {
        str(key): value
        for key, value in values.items()
        # NaN is how pandas writes a missing value.
        if key not in (video_column, caption_column, "id") and value is not None and value == value
    }
    try:  # what the catalog could not store is better said now than after hours of computing
        ClipRow(id=clip_id or "of-content", path=str(root / video), caption=caption, extra=metadata)
    except ValueError as error:
        raise ManifestError(f"{place}: {error}") from error
    return ManifestRow(number, root / video, caption, clip_id, metadata)


def _column(place: _Place, values: dict[str, Any], names: tuple[str, ...], what: str) -> str:
    for name in names:
        if name in values:
            if values[name] is None or not str(values[name]).strip():
                raise ManifestError(f"{place}: the column {name!r} ({what}) is empty.")
            return name
    raise ManifestError(
        f"{place}: there is no column for {what}: name it {' or '.join(map(repr, names))}. Columns found:"
        f" {', '.join(map(str, values)) or 'none'}."
    )


def _read_csv(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, restkey=_TOO_MANY, strict=True)
        try:
            for values in reader:
                values.pop("", None)  # the row number that pandas writes in front
                if _TOO_MANY in values or None in values.values():
                    raise ManifestError(
                        f"{file}, line {reader.line_num}: the line has not as many fields as the header. Put quotes"
                        " around a caption that has a comma."
                    )
                yield reader.line_num, {key: value for key, value in values.items() if value != "" or key in _NEEDED}
        except (csv.Error, UnicodeDecodeError) as error:
            raise ManifestError(f"{file}, line {reader.line_num}: not valid CSV in UTF-8: {error}") from error


_TOO_MANY = "\0"  # no header can be this
_NEEDED = {*VIDEO_COLUMNS, *CAPTION_COLUMNS}


def _read_json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig") as stream:
        line = 0
        try:
            for line, text in enumerate(stream, 1):
                if not text.strip():
                    continue
                values = json.loads(text)
                if not isinstance(values, dict):
                    raise ManifestError(f"{file}, line {line}: a JSON object is expected, one a line.")
                yield line, values
        except ManifestError:
            raise
        except ValueError as error:  # JSON and UTF-8 errors
            raise ManifestError(
                f"{file}, line {line + isinstance(error, UnicodeDecodeError)}: not valid JSON: {error}"
            ) from error


def _read_parquet(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        table = parquet.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file} is not a Parquet file: {error}") from error
    line = 0
    try:
        for batch in table.iter_batches():
            for values in batch.to_pylist():
                line += 1
                # Dates, decimals and bytes become text: metadata is kept as JSON.
                yield line, json.loads(json.dumps(values, default=str))
    except (OSError, ArrowException) as error:
        raise ManifestError(f"{file} is damaged after row {line}: {error}") from error
