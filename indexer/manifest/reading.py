"""Going through a manifest: each row is judged by itself, and one that is no clip costs none of the others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from motiontrace.files import FileError, check_file
from motiontrace.indexer.manifest.curators import NEMO_METADATA, is_data_juicer, nemo_files, read_data_juicer, read_nemo
from motiontrace.indexer.manifest.json_lines import read_json_lines
from motiontrace.indexer.manifest.locating import Locator
from motiontrace.indexer.manifest.parquet import read_parquet
from motiontrace.indexer.manifest.refusing import ManifestError, RefusedRow, RowError, by_reason
from motiontrace.indexer.manifest.rows import ManifestRow, make_row
from motiontrace.indexer.manifest.spreadsheets import read_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Values = dict[str, Any] | RowError

_FOLDER_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Values]]]] = {
    ".csv": read_csv, ".tsv": read_csv, ".jsonl": read_json_lines, ".ndjson": read_json_lines, ".parquet": read_parquet,
}  # fmt: skip
_SHEET = "Save the sheet as CSV UTF-8."
_HINTS = {
    ".json": "jq -c '.[]' turns a JSON array into JSON Lines.", ".gz": "Unpack it first.",
    ".xlsx": _SHEET, ".xls": _SHEET, ".ods": _SHEET, ".numbers": _SHEET,
}  # fmt: skip
_SHOWN = 3  # paths or folders that an error names


def read_manifest(
    source: Path, on_refused: Callable[[RefusedRow], None] = lambda row: None, *, strict: bool = False
) -> list[ManifestRow]:
    """All clips of a manifest file or folder, in its order.

    `on_refused` is called with each row that is no clip, where it is and why; the others go on. With `strict` the first
    such row ends it, but for those that a curator writes by design, as clips that it has filtered out.

    Raises:
        ManifestError: the manifest cannot be read, or none of its rows can be used.
    """
    file = _find(source)
    try:
        if not file.is_dir():
            check_file(file)
        reading = _Reading(file, on_refused, strict)
        for place, values in _read(file):
            reading.take(place, values)
    except FileError as error:
        raise ManifestError(f"{error}.") from error
    return reading.clips()


class Located(Protocol):
    """What has a file that was looked for, as a row of a manifest."""

    @property
    def video(self) -> Path:
        """Its path."""
        ...

    @property
    def found(self) -> bool:
        """Whether something was there."""
        ...


def require_files(manifest: Path, rows: Sequence[Located]) -> None:
    """Refuse the rows of a manifest of which none has its file; says where they were looked for.

    Raises:
        ManifestError: no file of any row is there.
    """
    if any(row.found for row in rows):
        return
    folders = sorted({str(row.video.parent) for row in rows})
    more = f" and {len(folders) - _SHOWN:,} more folders" if len(folders) > _SHOWN else ""
    raise ManifestError(
        f"none of the {len(rows):,} videos that {manifest} names is there. They were looked for in"
        f" {', '.join(folders[:_SHOWN])}{more}, the first as {rows[0].video}. Paths are relative to the manifest's"
        " folder: correct them, or fetch or mount the files."
    )


def is_manifest_folder(folder: Path) -> bool:
    """Whether a folder holds a manifest, by the names that are looked for."""
    return any(os.path.lexists(folder / name) for name in _FOLDER_FILES) or (folder / NEMO_METADATA).is_dir()


class _Reading:
    """The clips found so far, and the rows that are none."""

    def __init__(self, file: Path, on_refused: Callable[[RefusedRow], None], strict: bool) -> None:
        self._file, self._on_refused, self._strict = file, on_refused, strict
        self._locator = Locator(file)
        self._rows: list[ManifestRow] = []
        self._refused: list[RefusedRow] = []
        self._places: dict[str, str] = {}
        """Where each id is used."""

    def take(self, place: str, values: Values) -> None:
        """Makes the clips of a row, or refuses it."""
        for clip in _clips(values):
            number = len(self._rows) + len(self._refused) + 1
            try:
                if isinstance(clip, RowError):
                    raise clip
                self._rows.append(self._unique(make_row(number, place, clip, self._locator)))
            except RowError as error:
                self._refuse(RefusedRow(number, place, error.reason, error.said), expected=error.expected)

    def clips(self) -> list[ManifestRow]:
        """All clips; raises ManifestError where there is none."""
        if self._rows:
            return self._rows
        if not self._refused:
            raise ManifestError(f"{self._file} holds no clips.")
        if len(self._refused) == 1:
            raise ManifestError(f"{self._file}, {self._refused[0].place}: {self._refused[0].said}")
        reasons = "".join(f"\n  {line}" for line in by_reason(self._refused))
        raise ManifestError(f"none of the {len(self._refused):,} rows of {self._file} can be used:{reasons}")

    def _unique(self, row: ManifestRow) -> ManifestRow:
        if row.id is not None:
            if row.id in self._places:
                raise RowError(
                    "an id that is used already",
                    f"the id {row.id!r} is used in {self._places[row.id]} already; ids must be unique.",
                )
            self._places[row.id] = row.place
        return row

    def _refuse(self, row: RefusedRow, *, expected: bool) -> None:
        if self._strict and not expected:
            raise ManifestError(f"{self._file}, {row.place}: {row.said}")
        self._refused.append(row)
        self._on_refused(row)


def _find(source: Path) -> Path:
    """The manifest that is meant: a file, or a folder of NeMo Curator."""
    if source.is_dir():
        for name in _FOLDER_FILES:
            if os.path.lexists(source / name):
                return source / name
        if (source / NEMO_METADATA).is_dir():
            return source
        raise ManifestError(
            f"the folder {source} has no {', '.join(_FOLDER_FILES[:-1])} or {_FOLDER_FILES[-1]}. Write one with a"
            ' line a clip: {"file_name": "a.mp4", "caption": "a ball falls"}'
        )
    if not os.path.lexists(source):
        raise ManifestError(f"there is no file or folder {source}.")
    return source


def _read(file: Path) -> Iterator[tuple[str, Values]]:
    """Each row's place and values; of a folder those of NeMo Curator."""
    if file.is_dir():
        for clip in nemo_files(file):
            yield clip.name, _nemo(clip, file)
        return
    suffix = file.suffix.lower()
    reader = _READERS.get(suffix)
    if reader is None:
        raise ManifestError(
            f"{file} is no manifest: its name must end in .csv, .jsonl or .parquet, or it must be a folder."
            f" {_HINTS.get(suffix, '')}".rstrip()
        )
    unit = "row" if reader is read_parquet else "line"
    for number, values in reader(file):
        yield f"{unit} {number}", values


def _nemo(clip: Path, folder: Path) -> Values:
    try:
        return read_nemo(clip, folder.resolve())
    except RowError as error:
        return error


def _clips(values: Values) -> Sequence[Values]:
    """The clips that a row stands for: one, or a sample's of Data-Juicer."""
    if isinstance(values, RowError) or not is_data_juicer(values):
        return [values]
    try:
        return read_data_juicer(values)
    except RowError as error:
        return [error]
