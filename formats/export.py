"""An export format is one object: what it is called, what kind of file it makes, and how it writes a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PIECE_BYTES = 1 << 18  # of a file that is sent
# What every format is given of a clip, by name, in the order in which tables have their columns.
COLUMNS = (
    "rank", "score", "percentile", "stands_out", "chance_low", "chance_high", "id", "file_name", "path", "end",
    "caption", "verdict", "decision", "note", "ranges", "boxes", "motion_region", "width", "height", "frames",
    "seconds", "fps", "metadata", "video_url",
)  # fmt: skip


class Video(NamedTuple):
    """The file of a clip's video, opened, and the path at which it was indexed."""

    file: IO[bytes]
    path: str


class LeftOutError(Exception):
    """A clip's video cannot be exported; the text says why, as a sentence."""


class Row(Protocol):
    """A clip of the ranking that is exported."""

    @property
    def id(self) -> str:
        """The clip's id."""

    def document(self) -> dict[str, Any]:
        """Give what is known of the clip as JSON values, named and ordered as COLUMNS."""

    def video(self) -> Video:
        """Open the clip's video, whose size, length and frame rate are known.

        Raises:
            LeftOutError: it cannot be exported.
        """


@dataclass(frozen=True)
class Subject:
    """What was asked: a query, and what it was about.

    Attributes:
        query: its id.
        index: the name of the index that it was asked of.
        prompt: of the query's video; None where it was about a clip.
        clip: the id of that clip; None where it was about a video.
    """

    query: str
    index: str
    prompt: str | None
    clip: str | None

    @property
    def title(self) -> str:
        """A name for people, of letters that files and shells take."""
        return f"motiontrace-{self.query[:8]}"


@dataclass(frozen=True)
class Ranking:
    """What is exported.

    Attributes:
        subject: what the clips are the answer to.
        portions: of the clips, in order, no clip twice. They can be gone through once, and are read while the file is
            written.
        address: of the service that has the videos, without a closing slash; None: no service has them.
    """

    subject: Subject
    portions: Iterable[Sequence[Row]]
    address: str | None


@dataclass(frozen=True)
class Content:
    """A file that is being written.

    Attributes:
        pieces: its bytes, in order. Portions of the ranking are read as pieces are taken.
        size: bytes in all; None where it is not known before the end.
    """

    pieces: Iterator[bytes]
    size: int | None = None


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        name: as people choose it: ?format=NAME, --format NAME.
        title: what reads it, a few words for help.
        media_type: of the file.
        write: write a ranking. It raises OSError where files on this machine cannot be read or written, and so may
            the iteration over pieces.
        is_folder: the file is a zip file of a folder for a tool, with the clips' videos. It is for unpacking, and has a
            README.txt.
    """

    name: str
    title: str
    media_type: str
    write: Callable[[Ranking], Content]
    is_folder: bool = False

    @property
    def suffix(self) -> str:
        """The end of the file's name behind the query's id."""
        return f"-{self.name}.zip" if self.is_folder else f".{self.name}"
