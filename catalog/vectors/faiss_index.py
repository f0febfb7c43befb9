"""The FAISS index of a segment, which searches read: its vectors as half floats. Derived, never the truth.

The `.faiss` file beside a segment is an ordinary IndexScalarQuantizer (QT_fp16, inner product), mapped into
memory, so any program that reads FAISS opens it. It may be deleted at any time: the writer makes a missing,
foreign or altered one anew from the segment, whose header knows the half floats' checksum. Readers write
nothing: until then they derive theirs in memory.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from motiontrace.catalog.durable_files import state_of, write_atomically
from motiontrace.catalog.vectors.segment import Segment, half_floats

faiss: Any = _faiss  # its type stubs know neither the scanner nor the codes

SUFFIX = ".faiss"
_ROWS_AT_ONCE = 8192
_BUFFERED_SCORES = 4096  # small buffers are used again; FAISS's default of 3 MB, new each time, costs a sixth of a scan
_TILE_ROWS = 4096  # decoded at a time: 8 MB for 512 floats


@dataclass(frozen=True)
class FaissIndex:
    """A segment's FAISS index, ready to be searched; safe to search from several threads at once."""

    segment: Segment
    _index: Any  # faiss.IndexScalarQuantizer
    _state: tuple[int, ...] | None = None  # of the FAISS file that is mapped; None: none is

    @classmethod
    def open(cls, segment: Segment) -> "FaissIndex":
        """Map the file beside the segment; derive it in memory where it is missing or not the segment's.

        Raises:
            StoreDamagedError: it has to be derived, and the segment's vectors are damaged.
        """
        state = state_of(faiss_path(segment.path))
        index = _read(segment)
        return cls(segment, _derive(segment)) if index is None else cls(segment, index, state)

    @property
    def unchanged(self) -> bool:
        """Whether the mapped files are as they were when they were checked, or gone from their places.

        Segments never change, so one that has was damaged. What is mapped of a file that was cut short cannot be read:
        the system ends the process that tries to. A file that was deleted stays until nobody has it mapped.
        """
        mapped = [(self.segment.path, self.segment.state)]
        if self._state is not None:
            mapped.append((faiss_path(self.segment.path), self._state))
        return all(_as_it_was(state_of(path), before) for path, before in mapped)

    def scores(self, query: NDArray[np.float32], mask: NDArray[np.bool_] | None, out: NDArray[np.float32]) -> None:
        """Score the segment's rows against a query, in one pass.

        The scan is FAISS's inverted-list scanner over all codes, with a radius of minus infinity. It gives
        the very bits of `IndexScalarQuantizer.range_search`, which takes 25 times as long because it goes
        through an unvectorised distance computer (0.87 us a row of 512 against 0.035, FAISS 1.15, AVX-512).
        `search` uses the scanner too, but through a heap: with k = N the heap costs five times the scan.
        Every score once, then numpy's selection, gives all N, both ends and every rank for the price
        of reading the codes. One core reads them about as fast as memory gives them (30 GB/s), so a scan is
        not split between threads; it runs without the GIL.

        Args:
            query: float32 [dim], contiguous; no product of it with a row overflows.
            mask: bool [count], which rows to score; None scores all.
            out: float32 [number of rows scored], takes the scores in the order of the rows.
        """
        selector = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        scanner = self._index.sq.select_InvertedListScanner(self._index.metric_type, None, True, selector)
        scanner.list_no = 0
        scanner.set_query(faiss.swig_ptr(query))
        result = faiss.RangeSearchResult(1)
        result.buffer_size = _BUFFERED_SCORES
        partial = faiss.RangeSearchPartialResult(result)
        hits = partial.new_result(0)
        scanner.scan_codes_range(self.segment.count, self._index.codes.data(), None, -np.inf, hits)
        partial.finalize()
        out[:] = faiss.rev_swig_ptr(result.distances, hits.nres)

    def scores_of_many(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64] | None, out: NDArray[np.float32]
    ) -> None:
        """Score the segment's rows against many queries: a tile of rows is decoded once and multiplied with all.

        torch decodes half floats 15 times as fast as numpy and FAISS do. The sums are float32's, in an
        order that the matrix product chooses: they differ from those of `scores` in the last bits.

        Args:
            queries: float32 [queries, dim], contiguous.
            rows: int64, ascending: which rows to score; None scores all.
            out: float32 [queries, number of rows scored], takes the scores in the order of the rows.
        """
        import torch  # takes seconds, and most of what reads a store needs none

        left, products = torch.from_numpy(queries), torch.from_numpy(out)
        for start in range(0, out.shape[1], _TILE_ROWS):
            tile = slice(start, min(start + _TILE_ROWS, out.shape[1]))
            codes = torch.from_numpy(self.codes[tile if rows is None else rows[tile]])
            products[:, tile] = left @ codes.float().T

    @cached_property
    def codes(self) -> NDArray[np.float16]:
        """All rows, float16 [count, dim], mapped: there only as long as this object is."""
        size = self._index.ntotal * self._index.sa_code_size()
        codes: NDArray[np.uint8] = faiss.rev_swig_ptr(self._index.codes.data(), size)
        return codes.view(np.float16).reshape(self.segment.count, self.segment.dim)


def _as_it_was(now: tuple[int, ...] | None, before: tuple[int, ...]) -> bool:
    """Whether a file that is mapped can be read: it has not changed, or is not at its place any more."""
    return now is None or now[:2] != before[:2] or now == before


def faiss_path(segment: Path) -> Path:
    """Give the place of the FAISS file of a segment's file."""
    return segment.with_suffix(SUFFIX)


def has_faiss_file(segment: Segment) -> bool:
    """Tell whether the FAISS file beside the segment is there and holds the segment's half floats."""
    return _read(segment) is not None


def write_faiss_file(segment: Segment) -> None:
    """Write the FAISS file beside the segment, unless it is there already.

    Raises:
        StoreDamagedError: the segment's vectors are damaged.
    """
    if _read(segment) is None:
        write_atomically(faiss_path(segment.path), [faiss.serialize_index(_derive(segment)).tobytes()])


def _derive(segment: Segment) -> Any:
    index = _empty(segment.dim)
    for start in range(0, segment.count, _ROWS_AT_ONCE):
        rows = segment.vectors[start : start + _ROWS_AT_ONCE]
        index.add_sa_codes(half_floats(rows).view(np.uint8))
    return index


def _empty(dim: int) -> Any:
    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


def _read(segment: Segment) -> Any | None:
    """Map the segment's FAISS file; None where there is none, or it does not hold the segment's half floats."""
    path = faiss_path(segment.path)
    if not path.is_file():
        return None
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError:  # FAISS's word for anything it cannot read
        return None
    expected = _empty(segment.dim)
    same = (
        isinstance(index, faiss.IndexScalarQuantizer)
        and index.sq.qtype == expected.sq.qtype
        and (index.metric_type, index.d, index.ntotal) == (expected.metric_type, segment.dim, segment.count)
    )
    if not same:
        return None
    codes = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.sa_code_size())
    return index if hashlib.sha256(codes).hexdigest() == segment.codes_sha256 else None
