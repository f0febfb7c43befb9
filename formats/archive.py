"""Zip files that are sent while they are made: only a piece is in memory, whatever their size."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

REGULAR = 0o100644
EXECUTABLE = 0o100755


class ZipStream:
    """A zip file in the making: what `add` and `end` give, one after the other, are its bytes.

    The list of contents comes last. Where sending breaks off it is missing, so no tool takes the part for a whole file.
    """

    def __init__(self, moment: datetime) -> None:
        """Begin a zip file whose contents are dated `moment`."""
        self._moment = moment
        self._sink = _Sink()
        self._file = zipfile.ZipFile(self._sink, "w")

    def add(
        self, name: str, pieces: Iterable[bytes], *, compressed: bool, size: int | None = None, executable: bool = False
    ) -> Iterator[bytes]:
        """Add a file of `pieces`, which are taken as the bytes are asked for.

        Args:
            name: in the zip file, with slashes.
            pieces: of the content.
            compressed: whether it is worth compressing; videos are not.
            size: bytes of the content; None where it is not known, which takes longer records, for more than 2 GiB.
            executable: whether it is a program.
        """
        info = zipfile.ZipInfo(name, self._moment.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        info.create_system = 3  # Unix, whose rights follow
        info.external_attr = (EXECUTABLE if executable else REGULAR) << 16
        info.file_size = size or 0
        with self._file.open(info, "w", force_zip64=size is None) as content:
            for piece in pieces:
                content.write(piece)
                yield from self._sink.taken()
        yield from self._sink.taken()

    def end(self) -> Iterator[bytes]:
        """Give what closes the zip file."""
        self._file.close()
        yield from self._sink.taken()


class _Sink(io.RawIOBase):
    """A file that zipfile writes to. It can neither be read nor sought in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        if pieces:
            yield b"".join(pieces)
