"""What preconditioning adds to a query: the statistics of an index, their factors, and a query; one thread.

The vectors are those of benchmarks.search. A million clips take 3 GB of the temporary directory while it runs:
TMPDIR=/dev/shm python -m benchmarks.preconditioning
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import torch

from benchmarks.report import report
from benchmarks.search import DIM, RECIPE, SIZES, timed, unit_vectors, write_store
from motiontrace.catalog.vectors import Searcher

if TYPE_CHECKING:
    from collections.abc import Callable

faiss: Any = _faiss  # its type stubs do not know these calls
K = 10


def main() -> None:
    """All sizes, or those given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="clips")
    sizes = parser.parse_args().sizes
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    title = f"Preconditioning queries of {DIM} floats, synthetic unit vectors, one thread"
    report("preconditioning", title, [row for size in sizes for row in measured(size)])


def measured(size: int) -> list[dict[str, Any]]:
    """The rows of an index of so many clips."""
    (query,) = unit_vectors(1, 1)
    with tempfile.TemporaryDirectory(prefix="motiontrace-preconditioning-") as directory:
        store = Path(directory) / "index"
        write_store(store, size)
        searcher = Searcher.open(store, RECIPE)
        timings: dict[str, dict[str, Any]] = {
            "search of the query as it is": timed(lambda: searcher.search(query, K)),
            "statistics, from the files beside the segments": once(searcher.statistics),
        }
        statistics = searcher.statistics()
        timings |= {
            "the first query that is whitened, without its search": once(
                lambda: statistics.precondition(query, "whiten")
            ),
            "each further one": timed(lambda: statistics.precondition(query, "whiten")),
            "a query that is centred": timed(lambda: statistics.precondition(query, "centre")),
        }
        for path in store.glob("*.moments"):
            path.unlink()
        fresh = Searcher.open(store, RECIPE)
        timings["statistics, without the files"] = once(fresh.statistics)
        assert fresh.statistics().digest == statistics.digest
    return [{"clips": size, "what": what, **timing} for what, timing in timings.items()]


def once(work: Callable[[], object]) -> dict[str, float | None]:
    """CPU and wall milliseconds of one call: a second one would find what the first has kept."""
    before, started = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - before, time.perf_counter() - started
    return {"CPU ms": 1e3 * cpu, "wall ms": 1e3 * wall, "median wall ms": None}


if __name__ == "__main__":
    main()
