"""The chosen clips as rows of a table: what a trainer reads, why each clip is there, and the clip's own metadata.

Readers want every row to have the same columns of the same types. So a column of metadata is one of the table where
every chosen clip has it and all are texts, all numbers or all true or false; the rest is JSON text in `metadata`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from motiontrace import files
from motiontrace.catalog.repositories import CandidateRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import ClipFile
    from motiontrace.curation.selection.outcome import ChosenClip
    from motiontrace.curation.selection.run import Selection

Kind = Literal["text", "integer", "number", "boolean"]
OWN: dict[str, Kind] = {
    "id": "text", "source_path": "text", "rank": "integer", "votes": "integer", "votes_against": "integer",
    "score": "number", "weight": "number", "reason": "text",
}  # fmt: skip
REST = "metadata"
_PORTION = 2000  # clips asked of the catalog at once
_MAX_INTEGER = 2**63 - 1
# Readers of video folders take the files that such columns name for videos.
_NAMES_A_FILE = re.compile(r"(?:.*_)?file_names?", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A chosen clip with its file."""

    clip: ChosenClip
    file: ClipFile


@dataclass(frozen=True)
class Unusable:
    """A chosen clip whose file cannot be trained on."""

    id: str
    path: str
    reason: str


@dataclass(frozen=True)
class Columns:
    """The table's columns of metadata."""

    names: dict[str, str]
    """Those that every clip has in one kind: the name in the table by the name of the metadata, in order."""
    kinds: dict[str, Kind]
    """All, by the name in the table."""

    def cells(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """A clip's cells in these columns."""
        cells: dict[str, Any] = {}
        for name, title in self.names.items():
            cells[title] = float(metadata[name]) if self.kinds[title] == "number" else metadata[name]
        if REST in self.kinds:
            left = {name: metadata[name] for name in sorted(metadata.keys() - self.names.keys())}
            cells[REST] = json.dumps(left, ensure_ascii=False) if left else ""
        return cells


class _Seen:
    """What metadata the clips have, seen one by one."""

    def __init__(self) -> None:
        self._rows = 0
        self._seen: dict[str, tuple[int, Kind | None]] = {}

    def see(self, metadata: Mapping[str, Any]) -> None:
        self._rows += 1
        for name, value in metadata.items():
            count, kind = self._seen.get(name, (0, _kind(value)))
            self._seen[name] = count + 1, _common(kind, _kind(value))

    def columns(self, taken: Collection[str]) -> Columns:
        """The columns, none of which has a name that is `taken` or that readers take for a file's."""
        names: dict[str, str] = {}
        kinds: dict[str, Kind] = {}
        for name, (count, kind) in sorted(self._seen.items()):
            if count == self._rows and kind is not None:
                title = name
                while title in taken or title in kinds or _NAMES_A_FILE.fullmatch(title):
                    title += "_"
                names[name], kinds[title] = title, kind
        if len(names) < len(self._seen):
            kinds[REST] = "text"
        return Columns(names, kinds)


def read_rows(database: Database, selection: Selection) -> Iterator[Row | Unusable]:
    """The chosen clips by rank, with the catalog's data of their files; the files themselves are not read."""
    chosen = selection.outcome.chosen()
    while clips := list(islice(chosen, _PORTION)):
        with database.reading() as session:
            files = CandidateRepository(session, selection.index.id).files(clip.id for clip in clips)
        for clip in clips:
            file = files.get(clip.id)
            yield Unusable(clip.id, "", "it is no longer in the catalog") if file is None else Row(clip, file)


def check_file(row: Row) -> Unusable | None:
    """Why a clip's file cannot be trained on: it is gone, or other than when it was indexed; None where it can."""
    path = Path(row.file.path)
    try:
        size = files.check_file(path).st_size
    except files.FileError as error:
        return Unusable(row.clip.id, row.file.path, f"it {error.reason}")
    if row.file.bytes is not None and size != row.file.bytes:
        return Unusable(row.clip.id, row.file.path, "it has changed since it was indexed: index it again")
    return None


def survey(
    database: Database, selection: Selection, taken: Collection[str], on_clip: Callable[[], None]
) -> tuple[Columns, list[Unusable], int]:
    """Go through all chosen clips and their files once: the columns, what cannot be used, and the bytes of the rest."""
    seen, unusable, size = _Seen(), [], 0
    for row in read_rows(database, selection):
        wrong = row if isinstance(row, Unusable) else check_file(row)
        if wrong is not None:
            unusable.append(wrong)
        elif isinstance(row, Row):
            seen.see(row.file.metadata)
            size += row.file.bytes or 0
        on_clip()
    return seen.columns({*taken, *OWN, REST}), unusable, size


def _kind(value: Any) -> Kind | None:
    match value:
        case bool():
            return "boolean"
        case int() if abs(value) <= _MAX_INTEGER:
            return "integer"
        case float():
            return "number"
        case str():
            return "text"
    return None


def _common(one: Kind | None, other: Kind | None) -> Kind | None:
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else None
