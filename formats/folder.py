"""What a folder for a tool is made of: clips with their videos, and the tool's own files about them."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TextIO

from motiontrace.formats.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from motiontrace.formats.export import Subject

    Files = Callable[[Subject, "Clips"], Iterator["File"]]  # of one tool, beside the videos

FASTEST = 1  # of gzip's levels: rows are written once and read a few times


@dataclass(frozen=True)
class Clip:
    """A clip of the folder.

    Attributes:
        row: as formats.export.Row.document gives it; its size, length and frame rate are known.
        name: for files about it, without a suffix.
        video: the name of its video's file.
        bytes: the size of that file.
    """

    row: dict[str, Any]
    name: str
    video: str
    bytes: int

    @property
    def timeline(self) -> Timeline:
        """Its frames."""
        return Timeline(self.row["frames"], self.row["fps"])


@dataclass(frozen=True)
class File:
    """A file of the folder: its name, with slashes, and its text in pieces."""

    name: str
    pieces: Iterable[str]
    executable: bool = False


class Clips:
    """Clips on the disk, in a file without a name. However many there are, one is in memory.

    The file is compressed, since the folder for temporary files may be small or in memory. Clips can be iterated over
    any number of times, but not twice at once.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (its end closes it)
        self._added: TextIO | None = None  # open from the first clip that is added until clips are read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._end_adding()

    def add(self, clip: Clip) -> None:
        """Add a clip at the end."""
        if self._added is None:
            self._file.seek(0, os.SEEK_END)
            self._added = gzip.open(self._file, "wt", FASTEST, encoding="utf-8")  # noqa: SIM115
        self._added.write(json.dumps(vars(clip)) + "\n")

    def __iter__(self) -> Iterator[Clip]:
        self._end_adding()
        self._file.seek(0)
        with gzip.open(self._file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield Clip(**json.loads(line))

    def _end_adding(self) -> None:
        added, self._added = self._added, None
        if added is not None:
            added.close()
