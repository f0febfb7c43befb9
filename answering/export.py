"""A query's ranking in an export format: its rows, and their videos as far as they may leave this machine."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from motiontrace.answering.errors import QuestionError
from motiontrace.answering.media import OUTSIDE, given_away
from motiontrace.answering.reading import Reading
from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.database import Database
from motiontrace.files import FileError, open_file
from motiontrace.formats.export import LeftOutError, Ranking, Subject, Video
from motiontrace.formats.registry import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.answering.rows import Row
    from motiontrace.answering.settings import AnsweringSettings
    from motiontrace.formats.export import Content, Format

DEFAULT_VIDEOS = 100  # clips of an end whose videos a folder has
MAX_VIDEOS = 10_000


@dataclass(frozen=True)
class ExportedRow:
    """A row of a ranking, as formats take it.

    Attributes:
        row: what is known of the clip.
        settings: say which files may leave this machine.
    """

    row: Row
    settings: AnsweringSettings

    @property
    def id(self) -> str:
        """The clip's id."""
        return self.row.place.id

    def document(self) -> dict[str, Any]:
        """Give what is known of the clip, by column."""
        return self.row.document()

    def video(self) -> Video:
        """Open the clip's video.

        Raises:
            LeftOutError: it may not leave this machine, cannot be read, or is not the file that was indexed.
        """
        clip = self.row.clip
        if clip is None:
            raise LeftOutError("The clip has left the catalog.")
        if None in (clip.codec, clip.width, clip.height, clip.seconds) or not clip.frames:
            raise LeftOutError("Its file could not be read as a video when it was indexed.")
        if not clip.fps:
            raise LeftOutError("Its frame rate is not known: its file did not tell for how long a frame is shown.")
        if (path := given_away(clip.path, self.settings)) is None:
            raise LeftOutError(OUTSIDE)
        try:
            video = open_file(path)
        except FileError as error:
            raise LeftOutError(f"Its file {error.reason}.") from error
        except OSError as error:
            raise LeftOutError(f"Its file cannot be read: {error.strerror}.") from error
        size = os.fstat(video.fileno()).st_size
        if clip.bytes not in (None, size):
            video.close()
            raise LeftOutError(
                f"Its file has changed since it was indexed: it has {size:,} bytes, and had {clip.bytes:,}."
            )
        return Video(video, clip.path)


def exported(
    format: Format,
    reading: Reading,
    settings: AnsweringSettings,
    *,
    both: bool,
    limit: int | None,
    address: str | None = None,
) -> Content:
    """The ranking of a query as a file. Errors are raised here; only reading clips' files can fail later.

    Args:
        format: of the file.
        reading: of the ranking, at the end that comes first.
        settings: say which files may leave this machine.
        both: whether the other end follows.
        limit: how many clips of an end at most; None: all, and of a folder, which has their videos, DEFAULT_VIDEOS.
        address: of the service, without a closing slash; None: there is none.

    Raises:
        QuestionError: `too_many_videos`: so many are too many for a folder.
    """
    if format.is_folder:
        limit = _videos(limit)
    portions = reading.rows(limit, both=both)
    first = next(portions)
    query = reading.query
    subject = Subject(query=query.id, index=reading.index.name, prompt=query.prompt, clip=query.clip_id)
    rows = ([ExportedRow(row, settings) for row in portion] for portion in chain([first], portions))
    return format.write(Ranking(subject, rows, address))


def _videos(limit: int | None) -> int:
    videos = DEFAULT_VIDEOS if limit is None else limit
    if videos > MAX_VIDEOS:
        raise QuestionError(
            "too_many_videos",
            f"A folder with the videos of {videos:,} clips of an end would be too large.",
            field="limit",
            todo=f"Ask for at most {MAX_VIDEOS:,}, or for a table, which has no videos.",
        )
    return videos


@dataclass(frozen=True)
class _Catalog:
    """A catalog on this machine, whose reader may see every path."""

    database: Database
    searchers: Searchers

    def shown(self, path: str) -> str | None:
        """The path itself."""
        return path


def export_ranking(
    settings: AnsweringSettings,
    query_id: str,
    path: Path,
    *,
    format: str,
    end: Literal["top", "bottom", "both"] = "top",
    limit: int | None = None,
) -> None:
    """Write the ranking of a query that is kept to a new file: what `Client.export` would fetch, but for links.

    `format` is a name of the registry of formats.

    Raises:
        QuestionError: there is no such query, it is not done, or so many videos are too many.
        CatalogError, OSError: what cannot be read or written.
    """
    with closing(Database.open(settings.url, reading=True)) as database:
        reading = Reading.open(_Catalog(database, Searchers(settings.index_directory)), query_id, None, end)
        content = exported(FORMATS[format], reading, settings, both=end == "both", limit=limit)
        with path.open("xb") as file:
            file.writelines(content.pieces)
