"""The manifest: which segments, and which rows of them, make up the index right now.

It is replaced as a whole by one rename, so a reader has one version or the next, never a mixture.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from motiontrace.catalog.durable_files import access_to, write_atomically
from motiontrace.catalog.errors import StoreDamagedError, StoreMissingError

FILE_NAME = "manifest.json"


class SegmentEntry(BaseModel):
    """One segment of the index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # its file in the store's directory
    sha256: str  # its digest, hex
    count: int  # rows in the file
    dead: tuple[int, ...] = ()  # rows whose clip has a newer vector, or none any more; ascending

    @property
    def live(self) -> int:
        """How many of its rows are in the index."""
        return self.count - len(self.dead)

    def without(self, rows: Iterable[int]) -> "SegmentEntry":
        """Give the same entry with these rows dead as well."""
        return self.model_copy(update={"dead": tuple(sorted({*self.dead, *rows}))})


class Manifest(BaseModel):
    """One version of an index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int  # rises by one with each publication
    recipe_digest: str  # hex; vectors of another recipe cannot be compared with these
    dim: int
    segments: tuple[SegmentEntry, ...]

    @property
    def total(self) -> int:
        """How many vectors are in the index."""
        return sum(segment.live for segment in self.segments)

    def succeeded_by(self, segments: Iterable[SegmentEntry]) -> "Manifest":
        """Give the next version, of these segments; those with no live row are left out."""
        kept = tuple(segment for segment in segments if segment.live)
        return self.model_copy(update={"version": self.version + 1, "segments": kept})

    def write(self, directory: Path) -> None:
        """Make this the directory's manifest, in one durable step."""
        content = self.model_dump(mode="json")
        text = json.dumps({"sha256": _checksum(content), **content}, indent=1)
        with access_to(directory):
            write_atomically(directory / FILE_NAME, [text.encode()])

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read the directory's manifest.

        Raises:
            StoreMissingError: there is none.
            StoreDamagedError: it is no manifest, or altered.
            CatalogError: it may not be read.
        """
        path = directory / FILE_NAME
        with _found(directory):
            data = path.read_bytes()
        try:
            content = json.loads(data)
            checksum = content.pop("sha256")
            manifest = cls.model_validate(content)
        except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
            raise StoreDamagedError(f"{path} cannot be read ({_first_line(error)}).{_ADVICE}") from error
        if checksum != _checksum(content):
            raise StoreDamagedError(f"{path} does not match its checksum.{_ADVICE}")
        return manifest


def signature(directory: Path) -> object:
    """Tell one manifest from the next without reading it; raises what `Manifest.read` raises."""
    with _found(directory):
        stat = (directory / FILE_NAME).stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@contextmanager
def _found(directory: Path) -> Iterator[None]:
    with access_to(directory / FILE_NAME):
        try:
            yield
        except FileNotFoundError:
            raise StoreMissingError(
                f"{directory} holds no vector index ({FILE_NAME} is missing): check the index's name and "
                "MOTIONTRACE_HOME, or make the index with `motiontrace index`."
            ) from None


_ADVICE = " Delete it and run `motiontrace index` again: it is made anew from the catalog and the segments."


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
