"""What searches read: a segment's vectors as half floats in a FAISS index, derived, never the truth.

The `.faiss` file beside a segment is an ordinary IndexScalarQuantizer (QT_fp16, inner product), mapped into
memory, so any program that reads FAISS opens it. It may be deleted at any time: the writer makes a missing,
foreign or altered one anew from the segment, whose header knows the half floats' checksum. Readers write
nothing: until then they derive theirs in memory.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from catalog.vectors.files import write_atomically
from catalog.vectors.segment import Segment, half_floats

faiss: Any = _faiss  # its type stubs know neither the scanner nor the codes

SUFFIX = ".faiss"
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Halves:
    """A segment ready to be searched; safe to search from several threads at once."""

    segment: Segment
    _index: Any  # faiss.IndexScalarQuantizer

    @classmethod
    def open(cls, segment: Segment) -> "Halves":
        """Map the file beside the segment; derive it in memory where it is missing or not the segment's.

        Raises:
            StoreDamagedError: it has to be derived, and the segment's vectors are damaged.
        """
        index = _read(segment)
        return cls(segment, _derive(segment) if index is None else index)

    def scores(self, query: NDArray[np.float32], bitmap: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Score the segment's rows against a query, in one pass.

        The scan is FAISS's inverted-list scanner over all codes, with a radius of minus infinity. It gives
        the very bits of `IndexScalarQuantizer.range_search`, which takes 25 times as long because it goes
        through an unvectorised distance computer (0.87 us a row of 512 against 0.035, FAISS 1.15, AVX-512).
        `search` uses the scanner too, but through a heap: with k = N the heap costs five times the scan.
        Every score once, then numpy's selection, gives all N, both ends and every rank for the price
        of reading the codes. One core reads them about as fast as memory gives them (30 GB/s), so a scan is
        not split between threads; it runs without the GIL.

        Args:
            query: float32 [dim], contiguous.
            bitmap: uint8, one bit a row, the lowest first: which rows to score; None scores all.

        Returns:
            float32 [number of rows scored], in the order of the rows.
        """
        selector = None if bitmap is None else faiss.IDSelectorBitmap(bitmap)
        scanner = self._index.sq.select_InvertedListScanner(self._index.metric_type, None, True, selector)
        scanner.list_no = 0
        scanner.set_query(faiss.swig_ptr(query))
        result = faiss.RangeSearchResult(1)
        partial = faiss.RangeSearchPartialResult(result)
        hits = partial.new_result(0)
        scanner.scan_codes_range(self.segment.count, self._index.codes.data(), None, -np.inf, hits)
        partial.finalize()
        scores: NDArray[np.float32] = faiss.rev_swig_ptr(result.distances, hits.nres).copy()
        return scores


def halves_path(segment: Path) -> Path:
    """Give the place of the FAISS file of a segment's file."""
    return segment.with_suffix(SUFFIX)


def write_halves(segment: Segment) -> None:
    """Write the FAISS file beside the segment, unless it is there already.

    Raises:
        StoreDamagedError: the segment's vectors are damaged.
    """
    if _read(segment) is None:
        write_atomically(halves_path(segment.path), [faiss.serialize_index(_derive(segment)).tobytes()])


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
    path = halves_path(segment.path)
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
