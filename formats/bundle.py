"""A ranking with its videos as a folder for a tool, sent as a zip file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import chain
from typing import IO, TYPE_CHECKING

from motiontrace.formats.archive import ZipStream
from motiontrace.formats.export import PIECE_BYTES, Content, Format, LeftOutError
from motiontrace.formats.file_names import Names, suffix
from motiontrace.formats.folder import Clip, Clips, File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.formats.export import Ranking
    from motiontrace.formats.folder import Files

ZIP_TYPE = "application/zip"
LEFT_OUT = "left-out.txt"


def folder_format(name: str, title: str, *, videos: str, files: Files) -> Format:
    """A format that is a folder for a tool.

    A clip whose video cannot be exported is left out of all files, and listed in left-out.txt with the reason.

    Args:
        name: as people choose it.
        title: the tool, and what it is.
        videos: the folder in the folder that the videos are in.
        files: gives the tool's own files, each of which is used up before the next one is asked for.
    """

    def write(ranking: Ranking) -> Content:
        return Content(_zipped(ranking, videos, files))

    return Format(name, title, ZIP_TYPE, write, is_folder=True)


def _zipped(ranking: Ranking, videos: str, files: Files) -> Iterator[bytes]:
    """The folder as the pieces of a zip file.

    Raises:
        OSError: a video broke off while it was read; what was sent until then is no zip file.
    """
    zipped, names = ZipStream(datetime.now(UTC)), Names()
    left_out = []
    with Clips() as clips:
        for row in chain.from_iterable(ranking.portions):
            try:
                video = row.video()
            except LeftOutError as error:
                left_out.append(f"{row.id}\t{error}\n")
                continue
            with video.file:
                name, size = names.of(row.id), os.fstat(video.file.fileno()).st_size
                clip = Clip(row.document(), name, f"{videos}/{name}{suffix(video.path)}", size)
                yield from zipped.add(clip.video, _pieces(video.file, size), compressed=False, size=size)
            clips.add(clip)
        for file in files(ranking.subject, clips):
            yield from _added(zipped, file)
        if left_out:
            yield from _added(zipped, File(LEFT_OUT, left_out))
    yield from zipped.end()


def _added(zipped: ZipStream, file: File) -> Iterator[bytes]:
    pieces = (piece.encode() for piece in file.pieces)
    return zipped.add(file.name, pieces, compressed=True, executable=file.executable)


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
