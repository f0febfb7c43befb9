"""Does a file end where its own container says it ends?

FFmpeg plays what it finds in a half-downloaded file and often says nothing. MP4/MOV, Matroska/WebM, AVI and
GIF state their extent in bytes, so that a cut is seen for certain and before any decoding. The other containers
are judged by what the decoder reports.
"""

import os
from pathlib import Path
from typing import BinaryIO

ISO_TOP_LEVEL = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra"}
)
EBML_MAGIC = b"\x1a\x45\xdf\xa3"
EBML_SEGMENT = 0x18538067
GIF_TRAILER = b"\x3b"
GIF_TAIL = 64  # bytes; padding of zeros after the trailer is tolerated up to here


def missing_end(path: Path) -> str | None:
    """Say how the container shows that its end is missing; None if the file is whole or does not tell."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        if head[4:8] in ISO_TOP_LEVEL:
            return _cut_iso(file, size)
        if head[:4] == EBML_MAGIC:
            return _cut_matroska(file, size)
        if head[:4] == b"RIFF":
            return _cut_riff(file, size)
        if head[:3] == b"GIF":
            return _cut_gif(file, size)
    return None


def _cut_iso(file: BinaryIO, size: int) -> str | None:
    """Walk the top-level boxes of an MP4 or MOV file."""
    position, has_index = 0, False
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        if length == 1:  # the length follows as 64 bits
            length = int.from_bytes(header[8:16])
        if 0 < length < 8 or (kind not in ISO_TOP_LEVEL and position + length > size):  # junk after the last box
            return None
        if length == 0:  # this one runs to the end of the file
            break
        if position + length > size:
            return f"its {kind.decode()} part should reach byte {position + length:,} and the file has {size:,}"
        has_index = has_index or kind == b"moov"
        position += length
    return None if has_index else "its index (the moov part) is missing"


def _cut_matroska(file: BinaryIO, size: int) -> str | None:
    """Compare the size that the Segment element states with what follows it."""
    file.seek(0)
    _element_number(file, keep_marker=True)
    header_size = _element_number(file)
    file.seek(header_size or 0, os.SEEK_CUR)
    if _element_number(file, keep_marker=True) != EBML_SEGMENT:
        return None
    segment = _element_number(file)
    if segment is None:  # a live recording: size unknown
        return None
    end = file.tell() + segment
    return f"it should have {end:,} bytes and has {size:,}" if end > size else None


def _element_number(file: BinaryIO, keep_marker: bool = False) -> int | None:
    """Read an EBML variable-length number (an element id when ``keep_marker``); None is 'unknown'."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    number = int.from_bytes(first + file.read(length - 1))
    if keep_marker:
        return number
    number &= (1 << 7 * length) - 1
    return None if number == (1 << 7 * length) - 1 else number


def _cut_riff(file: BinaryIO, size: int) -> str | None:
    """Walk the RIFF chunks of an AVI file: one, or several a gigabyte each."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        position += 8 + int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF":  # junk after the last
            return None
    # Some writers count the 8 bytes of the header into the length.
    return f"it should have {position:,} bytes and has {size:,}" if position > size + 8 else None


def _cut_gif(file: BinaryIO, size: int) -> str | None:
    """Look for the trailer byte that ends every GIF."""
    file.seek(max(0, size - GIF_TAIL))
    tail = file.read().rstrip(b"\x00")
    return None if tail.endswith(GIF_TRAILER) else "its end mark is missing"
