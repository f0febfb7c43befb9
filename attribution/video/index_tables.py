"""The tables in an MP4's index: finds impossible counts before FFmpeg allocates memory for them.

FFmpeg allocates memory for as many samples as a table counts. With one flipped byte that can be 50 GB.
"""

from collections.abc import Iterator
from typing import BinaryIO

from motiontrace.attribution.video.limits import FETCH_AGAIN, VideoError

FOLDERS = frozenset({b"trak", b"mdia", b"minf", b"stbl", b"edts", b"traf"})
MOST_DEPTH = 8
# Bytes an entry; the count comes behind four bytes of version and flags.
TABLES = {b"stts": 8, b"ctts": 8, b"stsc": 12, b"stco": 4, b"co64": 8, b"stss": 4, b"elst": 12}
SAMPLE_SIZES, RUN = b"stsz", b"trun"
HANDLER, DATA_HANDLER, SOUND = b"hdlr", b"dhlr", b"soun"
RUN_FIELDS = (0x100, 0x200, 0x400, 0x800)  # four bytes a sample each
RUN_HEADER = (0x1, 0x4)


def check_tables(file: BinaryIO, name: str, start: int, end: int, size: int) -> None:
    """Check the tables of an index in the bytes from `start` to `end` of a file of `size` bytes.

    `name` is how messages call the file.

    Raises:
        VideoError: damaged, a table counts more than its bytes, or more samples than the file can hold.
    """
    sound = False
    for kind, begin, stop in _boxes(file, start, end, 0):
        file.seek(begin)
        head, room = file.read(24), stop - begin
        if kind == HANDLER and head[4:8] != DATA_HANDLER:
            sound = head[8:12] == SOUND
        count, least = _counted(kind, head)
        if kind == SAMPLE_SIZES and least > 12 and head[4:8] != bytes(4):  # all of one size: there is no table
            room = least if sound else size  # sound may count samples that it does not store
        elif kind == RUN and least == count:
            room = size
        if least > room:
            raise VideoError(
                "damaged",
                f"{name} is damaged: its index counts {count:,} entries in its {kind.decode()} part, "
                f"more than there is room for. {FETCH_AGAIN}",
            )


def _counted(kind: bytes, head: bytes) -> tuple[int, int]:
    """How many entries a box counts, by the first bytes of its content, and the fewest bytes that they take."""
    if kind in TABLES:
        count = int.from_bytes(head[4:8])
        return count, 8 + TABLES[kind] * count
    if kind == SAMPLE_SIZES:
        each, count = int.from_bytes(head[4:8]), int.from_bytes(head[8:12])
        return count, count * each if each else 12 + 4 * count
    if kind == RUN:
        flags, count = int.from_bytes(head[1:4]), int.from_bytes(head[4:8])
        fields = sum(flags & field > 0 for field in RUN_FIELDS)
        header = sum(flags & field > 0 for field in RUN_HEADER)
        return count, 8 + 4 * header + 4 * fields * count if fields else count
    return 0, 0


def _boxes(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Each box between two positions, and those within: its kind, where its content begins and where it ends."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(8)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        stop = min(end, start + length)
        if length < 8:
            return
        if kind in FOLDERS and depth < MOST_DEPTH:
            yield from _boxes(file, start + 8, stop, depth + 1)
        else:
            yield kind, start + 8, stop
        start += length
