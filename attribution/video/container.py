"""Does a file end where its own container says it ends, and is it one file?

FFmpeg often plays a half-downloaded file without an error. Of two files put together it reads only the first. MP4/MOV,
Matroska/WebM, AVI, WMV, FLV, IVF, GIF and APNG state the lengths of their parts, so both are found for certain before
decoding. Other containers are judged by the decoder's errors.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from motiontrace.attribution.video.index_tables import check_tables
from motiontrace.attribution.video.limits import FETCH_AGAIN, VideoError
from motiontrace.files import open_file

ISO_TOP_LEVEL = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra"}
)
EBML_MAGIC = b"\x1a\x45\xdf\xa3"
EBML_SEGMENT, EBML_CLUSTER = 0x18538067, 0x1F43B675
EBML_IN_CLUSTER = frozenset({0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0xBF, 0xEC, 0x5854})
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
GIF_CONTROL, GIF_EXTENSION, GIF_IMAGE, GIF_TRAILER = b"\xf9", b"\x21", b"\x2c", b"\x3b"
IVF_MAGIC, IVF_HEADER = b"DKIF", 32
NUT_MAGIC = b"nut/multimedia container\0"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
FLV_TAGS = frozenset({8, 9, 18})


@dataclass(frozen=True)
class Extent:
    """What a container's own structure says of its file.

    Attributes:
        whole: it states where it ends, and the file ends there.
        broken: its parts do not follow each other without gaps, so some were overwritten; known for Matroska only.
    """

    whole: bool
    broken: bool = False


def check_container(path: Path) -> Extent:
    """See how far a file's container reaches.

    Raises:
        VideoError: truncated, its end is missing; joined_files, another file begins behind its end; damaged, its index
            counts more than the file can hold; not_a_video, it is a picture.
    """
    name = path.name
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        file.seek(0)
        if head[4:8] in ISO_TOP_LEVEL:
            return Extent(_check_iso(file, name, size))
        if head[:4] == EBML_MAGIC:
            return _check_matroska(file, name, size)
        if head[:4] == b"RIFF":
            return Extent(_check_riff(file, name, size))
        if head[:3] == b"GIF":
            return Extent(_check_gif(file, name))
        if head[:3] == b"FLV":
            return Extent(_check_flv(file, name, size))
        if head == ASF_HEADER:
            return Extent(_check_asf(file, name, size))
        if head == NUT_MAGIC[:16]:
            return Extent(_check_nut(file, name))
        if head[:4] == IVF_MAGIC:
            return Extent(_check_ivf(file, name, size))
        if head[:8] == PNG_MAGIC:
            return Extent(_check_png(file, name, size))
    return Extent(False)


def _cut(name: str, how: str) -> VideoError:
    return VideoError("truncated", f"{name} is cut off: {how}. {FETCH_AGAIN}")


def _joined(name: str, position: int) -> VideoError:
    return VideoError(
        "joined_files",
        f"{name} is several files put together: another begins at byte {position:,}, and players show "
        "the first alone. Use the files that it was made of, or join them with a video tool.",
    )


def _check_iso(file: BinaryIO, name: str, size: int) -> bool:
    """Walk the top-level boxes of an MP4 or MOV file."""
    position = beginning = indexes = 0
    told, picture = True, False
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind, start = int.from_bytes(header[:4]), header[4:8], position + 8
        if length == 1:  # the length follows as 64 bits
            length, start = int.from_bytes(header[8:16]), position + 16
        if 0 < length < 8 or (kind not in ISO_TOP_LEVEL and position + length > size):  # junk after the last box
            break
        if length == 0:  # this one runs to the end of the file
            length, told = size - position, False
        if position + length > size:
            raise _cut(
                name, f"its {kind.decode()} part should reach byte {position + length:,} and the file has {size:,}"
            )
        beginning = position if kind == b"ftyp" else beginning
        indexes += kind == b"moov"
        picture = picture or kind == b"meta"
        if indexes > 1:
            raise _joined(name, beginning)
        if kind in (b"moov", b"moof"):
            check_tables(file, name, start, position + length, size)
        position += length
    if not indexes and picture:
        raise VideoError("not_a_video", f"{name} is a picture (AVIF or HEIC), not a video. Choose a video file.")
    if not indexes:
        raise _cut(name, "its index (the moov part) is missing")
    return told


def _check_matroska(file: BinaryIO, name: str, size: int) -> Extent:
    """Compare the size that the Segment element states with what follows it."""
    _element_number(file, keep_marker=True)
    header_size = _element_number(file)
    file.seek(header_size or 0, os.SEEK_CUR)
    if _element_number(file, keep_marker=True) != EBML_SEGMENT:
        return Extent(False)
    segment = _element_number(file)
    if segment is None:  # a live recording: size unknown
        return Extent(False)
    start = file.tell()
    end = start + segment
    if end > size:
        raise _cut(name, f"it should have {end:,} bytes and has {size:,}")
    return Extent(True, _has_hole(file, start, end))


def _has_hole(file: BinaryIO, start: int, end: int, within: frozenset[int] | None = None) -> bool:
    """Whether elements leave a gap between two positions, or within clusters; `within`: the ids allowed there."""
    while start < end:
        file.seek(start)
        kind, length = _element_number(file, keep_marker=True), _element_number(file)
        if kind is None or (within and kind not in within):
            return True
        if length is None:  # of unknown length, in a live recording
            return False
        begin, start = file.tell(), file.tell() + length
        if start > end or (kind == EBML_CLUSTER and _has_hole(file, begin, start, EBML_IN_CLUSTER)):
            return True
    return False


def _element_number(file: BinaryIO, keep_marker: bool = False) -> int | None:
    """Read an EBML variable-length number (an element id when `keep_marker`); None is 'unknown'."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    number = int.from_bytes(first + file.read(length - 1))
    if keep_marker:
        return number
    number &= (1 << 7 * length) - 1
    return None if number == (1 << 7 * length) - 1 else number


def _check_riff(file: BinaryIO, name: str, size: int) -> bool:
    """Walk the RIFF chunks of an AVI file: one, or several of a gigabyte each."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF":  # junk after the last
            return True
        position += 8 + int.from_bytes(header[4:], "little")
    if position > size + 8:  # some writers count the 8 bytes of the header into the length
        raise _cut(name, f"it should have {position:,} bytes and has {size:,}")
    return True


def _check_asf(file: BinaryIO, name: str, size: int) -> bool:
    """Walk the top-level objects of a WMV file; a streamed file does not state its length."""
    position = 0
    while position + 24 <= size:
        file.seek(position)
        kind, length = file.read(16), int.from_bytes(file.read(8), "little")
        if kind == ASF_HEADER and position:
            raise _joined(name, position)
        if length < 24:
            return False
        position += length
        if position > size and kind in (ASF_HEADER, ASF_DATA):
            raise _cut(name, f"it should have {position:,} bytes and has {size:,}")
    return True


def _check_flv(file: BinaryIO, name: str, size: int) -> bool:
    """Walk the tags of an FLV file. It does not say how many there are."""
    file.seek(5)
    position = int.from_bytes(file.read(4)) + 4
    while position + 11 <= size:
        file.seek(position)
        header = file.read(11)
        if header[:3] == b"FLV":
            raise _joined(name, position)
        if header[0] & 0x1F not in FLV_TAGS:
            break
        end = position + 11 + int.from_bytes(header[1:4])
        if end > size:
            raise _cut(name, f"its last part should reach byte {end:,} and the file has {size:,}")
        position = end + 4
    return False


def _check_ivf(file: BinaryIO, name: str, size: int) -> bool:
    """Walk the frames of an IVF file; how many there are may never have been filled in."""
    position = IVF_HEADER
    while position + 12 <= size:
        file.seek(position)
        header = file.read(4)
        if header == IVF_MAGIC:
            raise _joined(name, position)
        position += 12 + int.from_bytes(header, "little")
    if position > size:
        raise _cut(name, f"its last part should reach byte {position:,} and the file has {size:,}")
    return False


def _check_nut(file: BinaryIO, name: str) -> bool:
    """Look for another NUT file behind the beginning of this one."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if (position := data.find(NUT_MAGIC, 1)) > 0:
            raise _joined(name, position)
    return False


def _check_png(file: BinaryIO, name: str, size: int) -> bool:
    """Walk the chunks of an animated PNG."""
    position = len(PNG_MAGIC)
    while position + 12 <= size:
        file.seek(position)
        header = file.read(8)
        position += 12 + int.from_bytes(header[:4])
        if header[4:] == b"IEND":
            file.seek(position)
            if file.read(8) == PNG_MAGIC:
                raise _joined(name, position)
            return True
    raise _cut(name, "its end mark is missing")


def _check_gif(file: BinaryIO, name: str) -> bool:
    """Walk the blocks of a GIF: it is whole if it ends after one, with or without an end mark."""
    screen = file.read(13)
    _skip_colours(file, screen[10:11])
    promised = False  # an extension says how the next picture is shown
    while kind := file.read(1):
        if kind == GIF_TRAILER:
            return True
        if kind == GIF_EXTENSION:
            promised = (file.read(1) == GIF_CONTROL) or promised
        elif kind == GIF_IMAGE:
            place = file.read(9)
            _skip_colours(file, place[8:9])
            file.seek(1, os.SEEK_CUR)  # the size of its first codes
            promised = False
        else:  # junk after a lost end mark, or damage: the decoder will find out
            return False
        for length in _gif_pieces(file):
            if length is None:
                raise _cut(name, "its last picture is not complete")
    if promised:
        raise _cut(name, "its last picture is missing")
    return True


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)


def _gif_pieces(file: BinaryIO) -> Iterator[int | None]:
    """Skip the pieces of a block, up to 255 bytes each, and yield their lengths; None where the file ends before."""
    while (head := file.read(1)) and head[0]:
        yield len(piece) if len(piece := file.read(head[0])) == head[0] else None
    if not head:
        yield None
