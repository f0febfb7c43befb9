"""Projecting a gradient to 512 numbers, ours and other people's: CPU seconds on one thread, memory and distortion.

A gradient is a number of parameters of 1000 x 1000 entries each, float32. Every contender projects the same one, beside
a plain copy of its bytes to a buffer of its size. Distortion is the root mean square of
<Px, Py> / (|x| |y|) - cos(x, y) over pairs of gradients of rank 8 a parameter, as few tokens would make.

Pin it to one core: taskset -c 1 python -m benchmarks.projection
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from itertools import combinations
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from bergson.collector.collector import create_projection_matrix, project_global
from dattri.func.projection import random_project
from trak.projectors import BasicProjector, ProjectionType

from benchmarks.report import report
from motiontrace.attribution.projection import CountSketch, Fastfood, Sketch

if TYPE_CHECKING:
    from collections.abc import Callable

DIM, SIDE, RANK = 512, 1000, 8
SMALL, LARGE = 10, 100  # parameters: 10 and 100 million entries
VECTORS, FAST_SEEDS, REPEATS = 16, 8, 7
SLOW = 5.0  # CPU seconds at 10 million entries: from here on measured once, and 100 million entries are not waited for
Gradient = list[torch.Tensor]  # a tensor [batch, SIDE * SIDE] for each parameter


class Contender(Protocol):
    """A projection of gradients of so many parameters; made anew for every size and seed."""

    def __init__(self, parameters: int, seed: int) -> None: ...

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        """The projections [batch, numbers], scaled so that inner products are kept."""
        ...


class OurCountSketch:
    """`motiontrace.attribution.projection.CountSketch`."""

    kind: type[CountSketch] | type[Fastfood] = CountSketch

    def __init__(self, parameters: int, seed: int) -> None:
        self.projection = self.kind(seed, DIM)

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        sketch = Sketch(self.projection, len(gradient[0]))
        for index, part in enumerate(gradient):
            sketch.add(f"w{index}", part)
        return sketch.vectors()


class OurFastfood(OurCountSketch):
    """`motiontrace.attribution.projection.Fastfood`."""

    kind = Fastfood


class Traker:
    """TRAK's projector without CUDA (Park et al., ICML 2023): signs drawn 100 columns at a time, for every call."""

    def __init__(self, parameters: int, seed: int) -> None:
        self.projector = BasicProjector(
            parameters * SIDE * SIDE, DIM, seed, ProjectionType.rademacher, torch.device("cpu")
        )

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        return self.projector.project(torch.cat(gradient, 1), model_id=0) / DIM**0.5


class Dattri:
    """dattri's `random_project` on the CPU (Deng et al., NeurIPS 2024): the same, and scaled."""

    def __init__(self, parameters: int, seed: int) -> None:
        shapes = {f"w{index}": torch.empty(1, SIDE * SIDE) for index in range(parameters)}
        self.project = random_project(shapes, 1, DIM, proj_max_batch_size=8, proj_seed=seed, proj_type="rademacher")

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        return self.project({f"w{index}": part for index, part in enumerate(gradient)})


class BergsonGlobal:
    """bergson's `projection_target="global"`: a sign matrix a module, drawn in blocks for every call."""

    def __init__(self, parameters: int, seed: int) -> None:
        self.seed = seed

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        parts = (
            project_global(f"w{index}/single/seed{self.seed}", part, DIM, "rademacher")
            for index, part in enumerate(gradient)
        )
        return torch.stack(list(parts)).sum(0)


class BergsonPerModule:
    """bergson's default, `"per_module"`: L G R^T of 16 x 16 numbers for each module, side by side, not summed."""

    def __init__(self, parameters: int, seed: int) -> None:
        self.left, self.right = (
            [
                create_projection_matrix(
                    f"w{i}/{role}/seed{seed}", 16, SIDE, torch.float32, torch.device("cpu"), "rademacher"
                )
                for i in range(parameters)
            ]
            for role in ("left", "right")
        )

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        matrices = zip(gradient, self.left, self.right, strict=True)
        return torch.cat([(L @ part.view(-1, SIDE, SIDE) @ R.T).flatten(1) for part, L, R in matrices], 1)


class DenseSigns:
    """The textbook: one matrix of random signs, 2^13 of its columns at a time, drawn for every call."""

    chunk = 1 << 13

    def __init__(self, parameters: int, seed: int) -> None:
        self.seed = seed

    def __call__(self, gradient: Gradient) -> torch.Tensor:
        random = np.random.Philox(self.seed)
        total = torch.zeros(len(gradient[0]), DIM)
        for part in gradient:
            for piece in part.split(self.chunk, 1):
                words = random.random_raw(piece.shape[1] * DIM // 64)
                bits = torch.from_numpy(np.unpackbits(words.view(np.uint8)))
                total += piece @ bits.float().mul_(2).sub_(1).view(-1, DIM)
        return total / DIM**0.5


CONTENDERS: dict[str, type[Contender]] = {
    "motiontrace CountSketch": OurCountSketch,
    "motiontrace Fastfood": OurFastfood,
    f"bergson {version('bergson')} per module": BergsonPerModule,
    "dense signs, in blocks": DenseSigns,
    f"bergson {version('bergson')} global": BergsonGlobal,
    f"traker {version('traker')} BasicProjector": Traker,
    f"dattri {version('dattri')} random_project": Dattri,
}


def main() -> None:
    """Each contender at 10 and 100 million entries; slow ones once, at 10 million."""
    torch.set_num_threads(1)
    gradient = [torch.randn(1, SIDE * SIDE) for _ in range(LARGE)]
    copies = {parameters: copy_seconds(gradient[:parameters]) for parameters in (SMALL, LARGE)}
    vectors = low_rank_gradients()
    rows = [row("memory copy", parameters, seconds, copies, 0.0, 0, "all") for parameters, seconds in copies.items()]
    for what, kind in CONTENDERS.items():
        small = timed(kind, gradient[:SMALL])
        slow = small["seconds"] > SLOW
        large = {key: value * LARGE / SMALL for key, value in small.items()} if slow else timed(kind, gradient)
        rows.append(
            row(what, SMALL, small["seconds"], copies, small["set-up"], small["bytes"], "all")
            | distortion(kind, vectors, 1 if slow else FAST_SEEDS)
        )
        rows.append(
            row(
                what,
                LARGE,
                large["seconds"],
                copies,
                large["set-up"],
                large["bytes"],
                "a tenth, times 10" if slow else "all",
            )
        )
        print(rows[-2], rows[-1], sep="\n", file=sys.stderr)
    rows.sort(key=lambda row: row["million entries"])
    report("projection", f"Projecting a gradient to {DIM} numbers, one thread", rows)


def copy_seconds(gradient: Gradient) -> float:
    targets = [torch.zeros_like(part) for part in gradient]
    return best_of(lambda: [target.copy_(part) for target, part in zip(targets, gradient, strict=True)])


def row(
    what: str, parameters: int, seconds: float, copies: dict[int, float], setup: float, size: float, measured: str
) -> dict[str, Any]:
    return {
        "what": what,
        "million entries": parameters * SIDE * SIDE // 10**6,
        "CPU s": seconds,
        "times the copy": seconds / copies[parameters],
        "set-up CPU s": setup,
        "keeps MB": size / 1e6,
        "measured on": measured,
        "numbers": None,
        "distortion": None,
        "ideal": None,
        "pairs": None,
    }


def timed(kind: type[Contender], gradient: Gradient) -> dict[str, float]:
    """CPU seconds of one projection and, apart, of drawing what is kept between projections, and its bytes."""
    start = time.process_time()
    contender = kind(len(gradient), 0)
    made = time.process_time() - start
    start = time.process_time()
    contender(gradient)
    first = time.process_time() - start
    seconds = first if first > SLOW else best_of(lambda: contender(gradient))
    return {"seconds": seconds, "set-up": made + max(0.0, first - seconds), "bytes": held_bytes(contender, set())}


def best_of(work: Callable[[], object]) -> float:
    """The least CPU seconds of a few calls, after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def held_bytes(thing: object, seen: set[int]) -> int:
    """What is reachable from a contender: its tensors' and containers' bytes, each counted once."""
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        return thing.nbytes
    inside: list[Any] = []
    if isinstance(thing, dict):
        inside = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple):
        inside = list(thing)
    elif getattr(thing, "__closure__", None):
        inside = [cell.cell_contents for cell in thing.__closure__]  # type: ignore[attr-defined]
    elif hasattr(thing, "__dict__"):
        inside = list(vars(thing).values())
    return sys.getsizeof(thing) + sum(held_bytes(part, seen) for part in inside)


def low_rank_gradients() -> Gradient:
    """VECTORS independent gradients of 10 million entries."""
    generator = torch.Generator().manual_seed(0)

    def factors(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(VECTORS, rows, columns, generator=generator)

    return [(factors(SIDE, RANK) @ factors(RANK, SIDE)).flatten(1) for _ in range(SMALL)]


def distortion(kind: type[Contender], vectors: Gradient, seeds: int) -> dict[str, Any]:
    """Over all pairs of vectors and some seeds, beside sqrt((1 + cos^2) / numbers)."""
    gram = sum((part @ part.T).double() for part in vectors)
    assert isinstance(gram, torch.Tensor)
    lengths = gram.diagonal().sqrt()
    errors, ideals = [], []
    for seed in range(1, seeds + 1):
        projected = kind(len(vectors), seed)(vectors).double()
        for i, j in combinations(range(VECTORS), 2):
            cosine, scale = float(gram[i, j] / (lengths[i] * lengths[j])), float(lengths[i] * lengths[j])
            errors.append(float(projected[i] @ projected[j]) / scale - cosine)
            ideals.append((1 + cosine**2) / projected.shape[1])
    return {
        "numbers": projected.shape[1],
        "distortion": float(np.sqrt(np.mean(np.square(errors)))),
        "ideal": float(np.sqrt(np.mean(ideals))),
        "pairs": len(errors),
    }


if __name__ == "__main__":
    main()
