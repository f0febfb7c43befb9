"""The moments of an index's vectors, as searches read them: half floats.

Segments never change, so neither do the sums over one: the `.moments` file beside a segment keeps those of all its
rows. It is derived, as the `.faiss` file is: it may be deleted at any time, the writer makes a missing or altered one
anew, and readers, which write nothing, sum up meanwhile. Rows that have left the index are taken away from the sums,
exactly, so what an index has been through leaves no trace in its moments.

    offset  bytes       content
    0       8           magic, b"MTMOMENT"
    8       4           format version, uint32
    12      4           dim, uint32
    16      8           count, uint64
    24      32          sha256 of the half floats that were summed, as the segment's header has it
    56      32          sha256 of the sums
    88      8 x dim     `Moments.first`, int64
            8 x dim^2   `Moments.second`, int64

All little-endian.
"""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from motiontrace.attribution.moments import Moments
from motiontrace.catalog.durable_files import access_to, write_atomically
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.vectors.faiss_index import FaissIndex
from motiontrace.catalog.vectors.rows import Rows
from motiontrace.catalog.vectors.segment import Segment

SUFFIX = ".moments"
MIN_ROWS = 4096  # of a segment that has a file: fewer rows are summed up in less than 40 ms
MAX_DIM = 4096  # of vectors that are summed up: beyond it sums take minutes a segment and gigabytes
_MAGIC = b"MTMOMENT"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQ32s32s")


def moments_of(parts: Sequence[Rows], dim: int) -> Moments:
    """Sum up rows of segments, none of them twice.

    Raises:
        CatalogError: the vectors are longer than MAX_DIM.
    """
    if dim > MAX_DIM:
        raise CatalogError(
            f"The index has vectors of {dim:,} numbers, and queries are preconditioned for {MAX_DIM:,} at most: ask "
            "without precondition."
        )
    total = Moments.none(dim)
    for part in parts:
        total += _of_segment(part.index)
        if part.mask is not None:
            total -= Moments.of(part.index.codes[~part.mask])
    return total


def moments_path(segment: Path) -> Path:
    """Give the place of the moments of a segment's file."""
    return segment.with_suffix(SUFFIX)


def has_moments(segment: Segment) -> bool:
    """Tell whether a segment has its moments beside it, or such rows that it has none: few, or long."""
    return segment.count < MIN_ROWS or segment.dim > MAX_DIM or _read(segment) is not None


def write_moments(segment: Segment) -> None:
    """Write the moments beside a segment, unless they are there already or it has few rows, or long ones.

    Raises:
        StoreDamagedError: the segment's vectors are damaged.
    """
    if not has_moments(segment):
        index = FaissIndex.open(segment)
        moments = Moments.of(index.codes)
        sums = b"".join(np.ascontiguousarray(part, "<i8").tobytes() for part in (moments.first, moments.second))
        codes, digest = bytes.fromhex(segment.codes_sha256), hashlib.sha256(sums).digest()
        header = _HEADER.pack(_MAGIC, _VERSION, segment.dim, segment.count, codes, digest)
        write_atomically(moments_path(segment.path), [header, sums])


def _of_segment(index: FaissIndex) -> Moments:
    """Sum up all rows of a segment."""
    found = _read(index.segment)
    return Moments.of(index.codes) if found is None else found


def _read(segment: Segment) -> Moments | None:
    """Read a segment's moments; None where there are none, or they are not the segment's."""
    path, dim = moments_path(segment.path), segment.dim
    if segment.count < MIN_ROWS:
        return None
    with access_to(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    header, sums = data[: _HEADER.size], data[_HEADER.size :]
    codes, digest = bytes.fromhex(segment.codes_sha256), hashlib.sha256(sums).digest()
    expected = _HEADER.pack(_MAGIC, _VERSION, dim, segment.count, codes, digest)
    if header != expected or len(sums) != 8 * dim * (dim + 1):
        return None
    numbers = np.frombuffer(sums, "<i8").astype(np.int64, copy=False)
    return Moments(segment.count, numbers[:dim], numbers[dim:].reshape(dim, dim))
