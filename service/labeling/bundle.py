"""A ranking with its videos as a folder for a labelling tool, sent as a zip file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Literal

from motiontrace.catalog.file_names import Names, suffix
from motiontrace.files import FileError, open_file
from motiontrace.service.access.media import servable
from motiontrace.service.labeling import cvat, fiftyone
from motiontrace.service.labeling.archive import ZipStream
from motiontrace.service.labeling.folder import Clip, Clips, File, Layout
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from motiontrace.answering.rows import Row
    from motiontrace.service.labeling.folder import Subject
    from motiontrace.service.settings import ServiceSettings

Tool = Literal["fiftyone", "cvat"]
ZIP_TYPE = "application/zip"
LEFT_OUT = "left-out.txt"
PIECE_BYTES = 1 << 18
LAYOUTS: dict[Tool, Layout] = {"fiftyone": fiftyone.Folder(), "cvat": cvat.Folder()}


class LeftOutError(Exception):
    """A clip's video cannot be in the folder; says why."""


def bundle(tool: Tool, subject: Subject, rows: Iterable[Row], settings: ServiceSettings) -> Iterator[bytes]:
    """The folder of a tool with the videos of these clips, as the pieces of a zip file.

    A clip whose video cannot be served is left out of all its files, and listed in left-out.txt with the reason.

    Args:
        tool: whose folder.
        subject: what the rows are the answer to.
        rows: taken as the pieces are asked for; no clip twice.
        settings: say which files may leave the machine.

    Raises:
        OSError: a video broke off while it was read; what was sent until then is no zip file.
    """
    layout, zipped, names = LAYOUTS[tool], ZipStream(datetime.now(UTC)), Names()
    left_out = []
    with Clips() as clips:
        for row in rows:
            try:
                video, path = _video(row, settings)
            except LeftOutError as error:
                left_out.append(f"{row.place.id}\t{error}\n")
                continue
            with video:
                name, size = names.of(row.place.id), os.fstat(video.fileno()).st_size
                clip = Clip(row.document(), name, f"{layout.VIDEOS}/{name}{suffix(path)}", size)
                yield from zipped.add(clip.video, _pieces(video, size), compressed=False, size=size)
            clips.add(clip)
        for file in layout.files(subject, clips):
            yield from _added(zipped, file)
        if left_out:
            yield from _added(zipped, File(LEFT_OUT, left_out))
    yield from zipped.end()


def _added(zipped: ZipStream, file: File) -> Iterator[bytes]:
    pieces = (piece.encode() for piece in file.pieces)
    return zipped.add(file.name, pieces, compressed=True, executable=file.executable)


def _video(row: Row, settings: ServiceSettings) -> tuple[IO[bytes], str]:
    """The file of a clip's video, opened, and its path.

    Raises:
        LeftOutError: it is not to be had, or is not the one that was indexed.
    """
    clip = row.clip
    if clip is None:
        raise LeftOutError("The clip has left the catalog.")
    if None in (clip.codec, clip.width, clip.height, clip.seconds) or not clip.frames:
        raise LeftOutError("Its file could not be read as a video when it was indexed.")
    if not clip.fps:
        raise LeftOutError("Its frame rate is not known: its file did not tell for how long a frame is shown.")
    try:
        video = open_file(servable(clip.path, settings))
    except ProblemError as error:
        raise LeftOutError(error.detail) from error
    except FileError as error:
        raise LeftOutError(f"Its file {error.reason}.") from error
    except OSError as error:
        raise LeftOutError(f"Its file cannot be read: {error.strerror}.") from error
    size = os.fstat(video.fileno()).st_size
    if clip.bytes not in (None, size):
        video.close()
        raise LeftOutError(f"Its file has changed since it was indexed: it has {size:,} bytes, and had {clip.bytes:,}.")
    return video, clip.path


def _pieces(video: IO[bytes], size: int) -> Iterator[bytes]:
    """The `size` bytes of a file.

    Raises:
        OSError: it has fewer by now.
    """
    left = size
    while left:
        piece = video.read(min(left, PIECE_BYTES))
        if not piece:
            raise OSError(f"The file of a clip became {left:,} bytes shorter while it was sent.")
        left -= len(piece)
        yield piece
