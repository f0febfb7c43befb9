"""A segment: an immutable file of ids and vectors, every byte of it under a checksum.

    offset  bytes       content
    0       8           magic, b"MTSEGMNT"
    8       4           format version, uint32
    12      4           dim, uint32
    16      8           count, uint64
    24      8           length of the ids' text, uint64
    32      32          sha256 of the ids (ends and text)
    64      32          sha256 of the vectors
    96      32          sha256 of the vectors rounded to half floats, which searches read
    128     8 x count   where each id ends in the text, uint64
            ...         the ids' text, UTF-8, then zeros up to a multiple of 64
            4 x dim x count   vectors, float32

All little-endian. Rows are ordered by id, no id twice. The digest of a segment is the sha256 of its 128
header bytes, which hold the checksums of all the rest; the file is named by it, so that equal content has an
equal name. Each part is checked when it is first read: the header and the ids on opening, the vectors
on use. A reader that only searches never reads the float32 block.
"""

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from motiontrace.catalog.durable_files import access_to, state_of, write_atomically
from motiontrace.catalog.errors import StoreDamagedError

SUFFIX = ".segment"
_MAGIC = b"MTSEGMNT"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQQ32s32s32s")
_ALIGNMENT = 64
_ROWS_AT_ONCE = 8192


class Ids(Sequence[str]):
    """The ids of a segment, decoded one by one from the mapped file."""

    def __init__(self, ends: NDArray[np.uint64], text: NDArray[np.uint8]) -> None:
        self._ends = ends
        self._text = text

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        start = int(self._ends[row - 1]) if row else 0
        return self._text[start : int(self._ends[row])].tobytes().decode()

    def all(self) -> list[str]:
        """Decode every id; far quicker than one by one."""
        text = self._text.tobytes()
        ends = self._ends.tolist()
        return [text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]

    def row(self, wanted: str) -> int | None:
        """Find the row of an id, or None."""
        row = bisect_left(self, wanted)
        return row if row < len(self) and self[row] == wanted else None


@dataclass(frozen=True)
class Segment:
    """An open segment, memory-mapped; it stays readable after its file has been deleted."""

    path: Path
    digest: str  # sha256 of the header, hex
    count: int
    dim: int
    ids: Ids
    codes_sha256: str  # of the half floats, hex
    state: tuple[int, ...]  # of the file, see `state_of`
    _vectors: NDArray[np.float32]
    _vectors_sha256: bytes

    @classmethod
    def open(cls, path: Path) -> "Segment":
        """Map a segment; checks its name, size, header and ids.

        Raises:
            StoreDamagedError: the file is missing, cut short or altered; says which.
            CatalogError: it may not be read.
        """
        with access_to(path):
            state = state_of(path)
            try:
                mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
            except FileNotFoundError:
                raise StoreDamagedError(f"The segment {path} is missing.{_ADVICE}") from None
            except ValueError:  # an empty file cannot be mapped
                raise StoreDamagedError(f"The segment {path} is empty.{_ADVICE}") from None
        if len(mapped) < _HEADER.size:
            raise StoreDamagedError(f"The segment {path} is cut short.{_ADVICE}")
        header = mapped[: _HEADER.size].tobytes()
        digest = hashlib.sha256(header).hexdigest()
        if segment_name(digest) != path.name:
            raise StoreDamagedError(f"The header of the segment {path} does not match its checksum.{_ADVICE}")
        magic, version, dim, count, text_length, ids_sha256, vectors_sha256, codes = _HEADER.unpack(header)
        if magic != _MAGIC or version != _VERSION:
            raise StoreDamagedError(
                f"The segment {path} has format {magic!r} {version}, which this version does not read: "
                "a newer motiontrace has written it."
            )
        ids_end = _HEADER.size + 8 * count + text_length
        start = _aligned(ids_end)
        if len(mapped) != start + 4 * dim * count:
            raise StoreDamagedError(
                f"The segment {path} has {len(mapped)} bytes instead of {start + 4 * dim * count}.{_ADVICE}"
            )
        ids = mapped[_HEADER.size : ids_end]
        if hashlib.sha256(ids.data).digest() != ids_sha256:
            raise StoreDamagedError(f"The ids in the segment {path} do not match their checksum.{_ADVICE}")
        return cls(
            path=path,
            digest=digest,
            count=count,
            dim=dim,
            ids=Ids(ids[: 8 * count].view("<u8"), ids[8 * count :]),
            codes_sha256=codes.hex(),
            state=state or (),
            _vectors=mapped[start:].view("<f4").reshape(count, dim),
            _vectors_sha256=vectors_sha256,
        )

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors, float32 [count, dim], mapped; read once in full to check them.

        Raises:
            StoreDamagedError: they do not match their checksum.
        """
        if hashlib.sha256(self._vectors.data).digest() != self._vectors_sha256:
            raise StoreDamagedError(f"The vectors in the segment {self.path} do not match their checksum.{_ADVICE}")
        return self._vectors


_ADVICE = " Run `motiontrace index` again with the same manifest: the clips it held are computed anew."


def segment_name(digest: str) -> str:
    """Give the file name of the segment with that digest (hex)."""
    return digest[:32] + SUFFIX


def write_segment(directory: Path, ids: Sequence[str], vectors: NDArray[np.float32]) -> Path:
    """Write a segment durably and give its path, which the content alone decides.

    Args:
        directory: where to.
        ids: in ascending order, no id twice.
        vectors: float32 [len(ids), dim], finite; memory-mapped ones are read in portions.
    """
    encoded = [clip_id.encode() for clip_id in ids]
    ends = np.cumsum([len(text) for text in encoded], dtype="<u8")
    text = b"".join(encoded)
    ids_digest, vectors_digest, codes_digest = (hashlib.sha256() for _ in range(3))
    ids_digest.update(ends.data)
    ids_digest.update(text)
    for rows in _portions(vectors):
        vectors_digest.update(rows.data)
        codes_digest.update(half_floats(rows).data)
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        vectors.shape[1],
        len(ids),
        len(text),
        ids_digest.digest(),
        vectors_digest.digest(),
        codes_digest.digest(),
    )
    path = directory / segment_name(hashlib.sha256(header).hexdigest())

    def pieces() -> Iterator[bytes]:
        body = len(header) + ends.nbytes + len(text)
        yield from (header, ends.tobytes(), text, bytes(_aligned(body) - body))
        for rows in _portions(vectors):
            yield rows.tobytes()

    write_atomically(path, pieces())
    return path


def half_floats(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to half floats, to nearest even; FAISS's own rounding is not the same on every machine."""
    return np.ascontiguousarray(vectors.astype("<f2"))


def _portions(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        yield np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE], dtype="<f4")


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
