"""Projecting a gradient: CPU seconds on one thread beside a plain copy of the same bytes, and the distortion."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from attribution.projection import CountSketch, Fastfood, Sketch
from benchmarks.report import report

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES, BLOCK, REPEATS = 10_000_000, 1_000_000, 5


def main() -> None:
    """Ten parameters of a million entries each, random gradients; best of five."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    gradients = {f"w{i}": torch.randn(BLOCK, generator=generator) for i in range(ENTRIES // BLOCK)}
    target = torch.empty(BLOCK)
    copy = _cpu_seconds(lambda: [target.copy_(gradient) for gradient in gradients.values()])
    rows = [{"what": "memory copy", "CPU ms": 1000 * copy, "times the copy": 1.0, "distortion": 0.0}]
    for kind in (CountSketch, Fastfood):
        projection = kind(0, 512)

        def project(projection: CountSketch | Fastfood = projection) -> np.ndarray:
            sketch = Sketch(projection)
            for name, gradient in gradients.items():
                sketch.add(name, gradient)
            return sketch.vector().numpy()

        length = float(np.sqrt(sum(float(g.square().sum()) for g in gradients.values())))
        distortion = abs(np.linalg.norm(project()) / length - 1)  # the first call also draws the random streams
        seconds = _cpu_seconds(project)
        rows.append({"what": kind.__name__, "CPU ms": 1000 * seconds, "times the copy": seconds / copy,
                     "distortion": float(distortion)})  # fmt: skip
    report("projection", f"Projecting {ENTRIES:,} entries to 512, one thread", rows)


def _cpu_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
