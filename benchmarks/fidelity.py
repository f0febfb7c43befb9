"""How well short vectors rank clips as their whole gradients do: Spearman's correlation of the two rankings.

The demo's clips are put in random order. The first half is evaluated: each of its clips is a query that ranks the
others of that half, by the exact cosines of whole gradients and by the vectors. Bases are learned from the second half,
so that no query and no ranked clip has been seen by them; and once more from all clips but those of every fourth
motion, evaluated on those of them in the first half. Where the recipe weighs queries in another way than the clips that
they rank, each clip is computed both ways.

Less of it, to try: python -m benchmarks.fidelity --clips 60 --architectures wan
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.architectures import ARCHITECTURES, Architecture, Clip, asking, corpus, moving_clips, sketches_of
from benchmarks.exact import ExactGradients
from benchmarks.report import report
from motiontrace.attribution.basis import learn_basis
from motiontrace.attribution.presets import PRESETS
from motiontrace.attribution.projection import CountSketch, Fastfood

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from motiontrace.attribution.engine import ClipSketch, MotionEngine

ALL_CLIPS = 720  # of the demo's corpus; in some nothing moves
GOAL, GOAL_DIM, WITHIN = 0.93, 512, 0.01
UNSEEN_EVERY = 4  # motions
COMPARED = 32  # clips that are computed in two ways
_BATCH = 8


@dataclass(frozen=True)
class Settings:
    """What is measured; the defaults are what is published."""

    dims: tuple[int, ...] = (128, 512, 1024, 2048)
    width: int = 16_384
    factors: tuple[int, ...] = (16, 32, 64, 128)
    shipped_factors: int = 64
    seeds: int = 2
    """Of random projections; figures are their mean."""


class Fidelity:
    """The measurements on one architecture."""

    def __init__(self, architecture: Architecture, clips: Sequence[Clip], settings: Settings, folder: Path) -> None:
        """Computes the exact gradients of half of the `clips`, into a file in `folder`."""
        self.half = len(clips) // 2
        self.architecture = architecture.measured(clips[self.half :])
        self.settings = settings
        queries = asking(self.architecture, clips[: self.half])
        self.evaluated = [*queries, *clips[: self.half]]
        """Rows [:half] are the queries and rows [-half:] the clips that they rank, of this and of all that is computed
        of it; they are the same rows where the recipe weighs both alike."""
        self.others = clips[self.half :]
        self.exact = ExactGradients(self.architecture, self.evaluated, folder / f"{architecture.name}.npy")
        self.truth = self.exact.cosines()[: self.half, -self.half :]
        motions = sorted({clip.motion for clip in clips})
        self.unseen = np.array([clip.motion in motions[::UNSEEN_EVERY] for clip in clips])
        self._started = time.perf_counter()

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the table."""
        plain = {
            "dense signs": self._dense,
            "count-sketch": lambda seed: self._streamed(CountSketch, seed),
            "Fastfood": lambda seed: self._streamed(Fastfood, seed),
            f"factorised {self.settings.shipped_factors}": self._folded,
        }
        learned: dict[str, dict[str, Any]] = {
            "count-sketch": {"gradients": "exact"},
            "Fastfood": {"gradients": "exact", "projection": {"kind": "fastfood"}},
        } | {f"factorised {factors}": {"projection": {"factors": factors}} for factors in self.settings.factors}
        rows = [self._random_row(what, projected) for what, projected in plain.items()]
        return rows + [self._learned_row(what, settings) for what, settings in learned.items()]

    def _random_row(self, what: str, projected: Callable[[int], dict[int, NDArray[Any]]]) -> dict[str, Any]:
        """Random projections to each dim, by `projected(seed)`."""
        found = [projected(seed) for seed in range(self.settings.seeds)]
        means = {
            dim: float(np.mean([self.spearman(vectors[dim], self._every()) for vectors in found]))
            for dim in self.settings.dims
        }
        unseen = float(np.mean([self.spearman(vectors[self._goal_dim()], self._unseen()) for vectors in found]))
        return self._row(what, "random", means, unseen, rank=None, share=None)

    def _dense(self, seed: int) -> dict[int, NDArray[Any]]:
        vectors = self.exact.dense(max(self.settings.dims), seed)
        return {dim: vectors[:, :dim] for dim in self.settings.dims}

    def _streamed(self, kind: type[CountSketch] | type[Fastfood], seed: int) -> dict[int, NDArray[Any]]:
        return {dim: self.exact.projected(kind(seed, dim)) for dim in self.settings.dims}

    def _folded(self, seed: int) -> dict[int, NDArray[Any]]:
        """As the product does without a basis: a wide sketch, folded at random."""
        given = {"width": self.settings.width, "factors": self.settings.shipped_factors, "seed": seed}
        engines = {
            dim: self.architecture.engine({"projection": {**given, "dim": dim}}, batch=_BATCH)
            for dim in self.settings.dims
        }
        sketches = sketches_of(engines[self._goal_dim()], self.evaluated)
        return {dim: finished(engine, sketches) for dim, engine in engines.items()}

    def _learned_row(self, what: str, settings: dict[str, Any]) -> dict[str, Any]:
        """A wide sketch and directions learned from clips that are not evaluated."""
        projection = settings.get("projection", {}) | {"width": self.settings.width, "dim": min(self.settings.dims)}
        exact = settings.get("gradients") == "exact"
        engine = self.architecture.engine({**settings, "projection": projection}, batch=1 if exact else _BATCH)
        sketches = sketches_of(engine, [*self.evaluated, *self.others])
        wide = np.stack([sketch.vector for sketch in sketches if sketch.vector is not None])[-len(self.unseen) :]

        def vectors(fit: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
            basis = learn_basis(fit, dim)
            projection = engine.recipe.projection.model_copy(update={"dim": dim, "basis": basis.digest})
            recipe = engine.recipe.model_copy(update={"projection": projection})
            return finished(engine.under(recipe, basis), sketches[: len(self.evaluated)])

        means = {dim: self.spearman(vectors(wide[self.half :], dim), self._every()) for dim in self.settings.dims}
        unseen = self.spearman(vectors(wide[~self.unseen], self._goal_dim()), self._unseen())
        share = None if exact else factorised_share(engine)
        return self._row(what, "learned", means, unseen, rank=len(self.others), share=share)

    def _row(
        self, what: str, kind: str, means: dict[int, float], unseen: float, *, rank: int | None, share: float | None
    ) -> dict[str, Any]:
        row = {
            "model": self.architecture.name,
            "gradients": what,
            "directions": kind,
            **{str(dim): mean for dim, mean in means.items()},
            f"unseen motions, {self._goal_dim()}": unseen,
            "learned from": rank,
            "factorised %": None if share is None else 100 * share,
        }
        print(f"{time.perf_counter() - self._started:.0f} s", row, file=sys.stderr)
        return row

    def _every(self) -> NDArray[np.intp]:
        return np.arange(self.half)

    def _unseen(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.unseen[: self.half])

    def _goal_dim(self) -> int:
        return GOAL_DIM if GOAL_DIM in self.settings.dims else max(self.settings.dims)

    def spearman(self, vectors: NDArray[Any], places: NDArray[np.intp]) -> float:
        """Mean over the clips at `places`, each ranking the others, by cosines of `vectors` and of gradients."""
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        queries, clips = units[: self.half][places], units[-self.half :][places]
        scores, truth = queries @ clips.T, self.truth[np.ix_(places, places)]
        found = [
            spearmanr(np.delete(mine, i), np.delete(exact, i)).statistic
            for i, (mine, exact) in enumerate(zip(scores, truth, strict=True))
        ]
        return float(np.mean(found))

    def same_clip(self) -> list[dict[str, Any]]:
        """The shipped vectors of some clips computed in another way: how far they move."""
        given = {"projection": {"width": self.settings.width, "dim": self._goal_dim()}}
        clips = self.evaluated[:COMPARED]
        one = self.architecture.engine(given)
        basis = learn_basis(
            np.stack([s.vector for s in sketches_of(one, self.others) if s.vector is not None]),
            self._goal_dim(),
        )
        ways: dict[str, MotionEngine] = {
            "one at a time, again": self.architecture.engine(given),
            f"{_BATCH} a batch": self.architecture.engine(given, batch=_BATCH),
            "bfloat16": self.architecture.engine({**given, "dtype": "bfloat16"}),
        }
        if torch.cuda.is_available():
            ways |= {torch.cuda.get_device_name(): self.architecture.engine(given, device="cuda")}
        reference = finished(one.with_basis(basis), sketches_of(one, clips))
        rows = []
        for what, engine in ways.items():
            vectors = finished(engine.with_basis(basis), sketches_of(engine, clips))
            distance = np.linalg.norm(vectors - reference, axis=1).max()
            rows.append(
                {
                    "model": self.architecture.name,
                    "float32 on the CPU, one at a time, against": what,
                    "clips": len(clips),
                    "largest distance": float(distance),
                    "1 - smallest cosine": float(distance**2 / 2),  # of vectors of unit length
                }
            )
        return rows


def finished(engine: MotionEngine, sketches: Sequence[ClipSketch]) -> NDArray[np.float32]:
    """The vectors that the engine makes of sketches, [clips, dim]."""
    vectors = (engine.finish(sketch).vector for sketch in sketches)
    return np.stack([vector for vector in vectors if vector is not None])


def factorised_share(engine: MotionEngine) -> float:
    """Share of the attributed parameters whose gradient is captured by its factors: small layers are kept whole."""
    gradients: Any = engine._gradients
    sizes = {name: parameter.numel() for name, parameter in gradients._parameters.items()}
    drawn = (name for name, pair in gradients._directions.items() if any(core is not None for core, _ in pair))
    return sum(sizes[name] for name in drawn) / sum(sizes.values())


def verdicts(rows: list[dict[str, Any]], settings: Settings) -> list[str]:
    """The goals, and whether they are met by the defaults of what is shipped; the other numbers of factors beside."""
    key, lines = str(GOAL_DIM), []
    for model in dict.fromkeys(row["model"] for row in rows):
        learned = {
            row["gradients"]: row[key] for row in rows if row["model"] == model and row["directions"] == "learned"
        }
        factorised = f"factorised {settings.shipped_factors}"
        shipped = {what: learned[what] for what in ("count-sketch", "Fastfood", factorised)}
        worst, best = min(shipped, key=shipped.__getitem__), max(shipped, key=shipped.__getitem__)
        gap = shipped[best] - shipped[factorised]
        others = ", ".join(f"{what} {value:.3f}" for what, value in learned.items() if what not in shipped)
        lines += [
            f"{model}: at {key} at least {GOAL}: {_met(shipped[worst] >= GOAL)} (least: {shipped[worst]:.3f}, {worst})",
            f"{model}: {factorised} within {WITHIN} of the best: {_met(gap <= WITHIN)} ({gap:.4f} below {best})",
            f"{model}: beside these, {others}",
        ]
    return lines


def _met(reached: bool) -> str:
    return "met" if reached else "MISSED"


def main(arguments: Sequence[str] | None = None) -> None:
    """Both architectures, the goals and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=ALL_CLIPS, help="half of them evaluated, half learned from")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--recipe", choices=PRESETS, default="paper", help="by name, as motiontrace index has them")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings, rows, same = Settings(), [], []
    for name in chosen.architectures:
        architecture = replace(ARCHITECTURES[name], preset=chosen.recipe)
        clips = moving_clips(architecture, corpus(), chosen.clips)
        with tempfile.TemporaryDirectory(dir=corpus().parent) as folder:  # gigabytes of gradients: not in a memory disk
            fidelity = Fidelity(architecture, clips, settings, Path(folder))
            rows += fidelity.rows()
            same += fidelity.same_clip()
    names = "fidelity" if chosen.recipe == "paper" else f"fidelity-{chosen.recipe}"
    title = f"Spearman with exact rankings: {len(clips) // 2} clips by {len(clips) // 2} queries, one thread"
    report(names, f"{title}, recipe {chosen.recipe}", rows)
    report(f"{names}-same", "The same clip computed in another way", same)
    print(*verdicts(rows, settings), sep="\n")
    if len(chosen.architectures) == len(ARCHITECTURES) and chosen.recipe == "paper":
        from benchmarks.pictures import FIDELITY, draw_fidelity  # matplotlib: the bench extra alone has it

        draw_fidelity(rows, settings.dims, settings.shipped_factors, FIDELITY)


if __name__ == "__main__":
    main()
