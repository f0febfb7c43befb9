"""Text files in UTF-8, line by line; another encoding is reported by its name."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING

from motiontrace.files import open_file
from motiontrace.indexer.manifest.refusing import ManifestError, RowError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",  # begins as UTF-16 does: first
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
_NO_TEXTS = {
    b"PAR1": "a Parquet file, whose name ends in .parquet",
    b"PK\x03\x04": "a zip file, as .xlsx is. Save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "a sheet of old Excel. Save it as CSV", b"\x1f\x8b": "packed with gzip. Unpack it",
    b"version https://git-lfs": "a pointer of Git LFS. git lfs pull fetches what it stands for",
}  # fmt: skip
_HEAD = 8  # bytes that tell UTF-16 without a mark: names of columns are ASCII


def open_text(file: Path, newline: str | None = None) -> io.TextIOWrapper:
    """A file of lines; bytes that are no UTF-8 come through, for `check_utf8` to find in their line.

    Raises:
        FileError: it is no regular file, or empty.
        ManifestError: it is UTF-16 or UTF-32, or no text.
    """
    stream = open_file(file)
    head = stream.peek(max(map(len, _NO_TEXTS)))
    if (other := next((what for begins, what in _NO_TEXTS.items() if head.startswith(begins)), None)) is not None:
        stream.close()
        raise ManifestError(f"{file} is no table in text: it is {other}.")
    if (other := _other_encoding(stream)) is not None:
        stream.close()
        raise ManifestError(
            f"{file} is {other} text; UTF-8 is expected. Save it as UTF-8: a spreadsheet calls it CSV UTF-8, and"
            f" iconv -f {other} -t UTF-8 converts it."
        )
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def check_utf8(text: str) -> None:
    """Refuse text that was read from bytes that are no UTF-8.

    Raises:
        RowError: says the first such byte, and what it is in the encoding that old spreadsheets write.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = bytes([ord(text[error.start]) - 0xDC00])
        letter = byte.decode("cp1252", errors="replace")
        meant = f", which is {letter!r} in Latin-1 (Windows-1252)" if letter.isprintable() else ""
        raise RowError(
            "text that is not UTF-8",
            f"not valid text in UTF-8: it has the byte 0x{byte.hex().upper()}{meant}. Save the file as UTF-8.",
        ) from None


def _other_encoding(stream: BufferedReader) -> str | None:
    head = stream.peek(_HEAD)[:_HEAD]
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    even, odd = head[::2], head[1::2]
    if len(head) == _HEAD and ((not any(even) and all(odd)) or (all(even) and not any(odd))):
        return "UTF-16"
    return None
