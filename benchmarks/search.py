"""Searching an index: one query and fifty, at 10,000 to a million clips, beside FAISS's own scan; one thread.

The vectors are synthetic, independent and of unit length, 512 floats each, in a store written as the indexer writes
one. Time depends on how many there are, not on what they are. FAISS's rows are its `search` with k = 10, one end
alone, over one index in memory: IndexScalarQuantizer of the same half floats, and IndexFlatIP of float32.

A million clips take 3 GB of the temporary directory while it runs, and 3 GB of memory:
TMPDIR=/dev/shm python -m benchmarks.search
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import numpy as np
import torch

from benchmarks.report import report
from motiontrace.attribution.votes import votes
from motiontrace.catalog.vectors import Searcher, VectorStore
from motiontrace.catalog.vectors.store import SEGMENT_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

faiss: Any = _faiss  # its type stubs do not know these calls

DIM, QUERIES, K, PERCENTILE = 512, 50, 10, 90
SIZES = (10_000, 100_000, 1_000_000)
RECIPE = "00" * 32
REPEATS = 9
SLOW = 1.0  # seconds: from here on three runs will do


def main() -> None:
    """All sizes, or those given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="clips")
    sizes = parser.parse_args().sizes
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rows = [row for size in sizes for row in measured(size)]
    report("search", f"Searching synthetic unit vectors of {DIM} floats, one thread", rows)


def measured(size: int) -> list[dict[str, Any]]:
    """The rows of an index of so many clips."""
    queries = unit_vectors(QUERIES, 1)
    with tempfile.TemporaryDirectory(prefix="motiontrace-search-") as directory:
        write_store(Path(directory) / "index", size)
        started = time.perf_counter()
        searcher = Searcher.open(Path(directory) / "index", RECIPE)
        opening = time.perf_counter() - started
        place = searcher.ranked(queries[0], limit=K).hits[-1]
        timings = {
            f"search, both ends, k {K}": timed(lambda: searcher.search(queries[0], K)),
            f"page {K} behind a place": timed(
                lambda: searcher.ranked(queries[0], after=(place.score, place.id), limit=K)
            ),
            f"scores of {QUERIES} queries": timed(lambda: searcher.scores_of_many(queries)),
            f"scores of {QUERIES} and votes": timed(lambda: votes(searcher.scores_of_many(queries).values, PERCENTILE)),
            f"search of {QUERIES}, both ends, k {K}": timed(lambda: searcher.search_many(queries, K)),
            "vector of a clip": timed(lambda: searcher.vector(place.id)),
        }
    for name, index in (
        ("fp16", faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)),
        ("float32", faiss.IndexFlatIP(DIM)),
    ):
        for part in portions(size):
            index.add(part)
        for count in (1, QUERIES):
            timings[f"FAISS {name}, {count} a call, k {K}"] = timed(lambda: index.search(queries[:count], K))  # noqa: B023
    opened = {
        "clips": size,
        "what": "opening, checksums checked",
        "CPU ms": None,
        "wall ms": 1e3 * opening,
        "median wall ms": None,
    }
    return [{"clips": size, "what": what, **timing} for what, timing in timings.items()] + [opened]


def write_store(directory: Path, size: int) -> None:
    """A store of so many clips in full segments."""
    with VectorStore.create(directory, RECIPE, DIM) as store:
        names = []
        for number, part in enumerate(portions(size)):
            first = number * SEGMENT_ROWS
            names.append(store.append({f"clip-{first + row:07}": vector for row, vector in enumerate(part)}))
        store.publish(names)


def portions(size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, size, SEGMENT_ROWS):
        yield unit_vectors(min(SEGMENT_ROWS, size - start), 2 + start)


def unit_vectors(count: int, seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def timed(work: Callable[[], object]) -> dict[str, float]:
    """The least CPU and wall time, and the median wall time, after a call to warm up; milliseconds."""
    started = time.perf_counter()
    work()
    repeats = 3 if time.perf_counter() - started > SLOW else REPEATS
    cpu, wall = [], []
    for _ in range(repeats):
        before, started = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - before)
        wall.append(time.perf_counter() - started)
    return {"CPU ms": 1e3 * min(cpu), "wall ms": 1e3 * min(wall), "median wall ms": 1e3 * median(wall)}


if __name__ == "__main__":
    main()
