"""What motiontrace index shows: progress while it runs, and what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from motiontrace.commands.progress import CLIPS, Progress, duration_text
from motiontrace.commands.refusing import print_refused
from motiontrace.commands.stopping import resumable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from motiontrace.attribution.basis import Basis
    from motiontrace.attribution.recipe import Recipe
    from motiontrace.indexer.build import BuiltIndex, Part
    from motiontrace.indexer.calibration import Calibrated
    from motiontrace.indexer.manifest import RefusedRow
    from motiontrace.indexer.summary import Result, Summary

_SHOWN = 20
_KEPT = "What is finished is in the index, or kept for it where there is none yet."
_TITLES: dict[Part, str] = {
    "channels": "measuring the latent channels",
    "gradients": "measuring the gradients",
    "basis": "learning the basis",
    "clips": "indexing",
}


@contextmanager
def building(console: Console, manifest: Path, model: str) -> Iterator[Heard]:
    """Shows the progress of `build_index`; where it is stopped, says what is kept and how to go on.

    Raises:
        Exit: it was stopped; has the signal's code.
    """
    with resumable(_KEPT), Progress(console) as progress:
        yield Heard(progress, manifest, model)


class Heard:
    """See `motiontrace.indexer.build.Listener`."""

    def __init__(self, progress: Progress, manifest: Path, model: str) -> None:
        self._progress, self._manifest, self._model = progress, manifest, model
        self._counts: dict[Result, int] = {}

    def planned(self, clips: int, refused: Sequence[RefusedRow]) -> None:
        """The run begins."""
        self._progress.say(f"{clips:,} clips, model {self._model}")
        print_refused(self._progress.console, self._manifest, clips, refused)

    def loading(self, what: str) -> None:
        """This is read now."""
        self._progress.loading(what)

    def loaded(self, recipe: Recipe) -> None:
        """The model is loaded."""
        self._progress.end()
        self._progress.say(f"{recipe.frames} frames of {recipe.width}x{recipe.height}")
        share = recipe.attributed_parameters / recipe.denoiser_parameters
        self._progress.say(
            f"attributed: {recipe.attributed_parameters:,} of the denoiser's {recipe.denoiser_parameters:,} parameters"
            f" ({share:.0%}), gradients {recipe.gradients}"
        )

    def begin(self, part: Part, clips: int) -> None:
        """A part begins."""
        self._progress.begin(_TITLES[part], clips, CLIPS)

    def step(self, done: int, total: int, kept: int) -> None:
        """So many clips of a sample are done."""
        self._progress.to(done, total, kept=kept)

    def measured(self, part: Part, scales: Sequence[float]) -> None:
        """Scales are known."""
        self._progress.end()
        if part == "channels":
            self._progress.say(f"latent channels' scales: {', '.join(map('{:g}'.format, scales))}")
        else:
            low, high = min(scales), max(scales)
            self._progress.say(f"gradients' scales of {len(scales)} parameters: {low:g} to {high:g}")

    def learned(self, calibrated: Calibrated, least: int) -> None:
        """The basis is learned."""
        self._progress.end()
        if (basis := calibrated.basis) is None:
            self._progress.say(
                f"{calibrated.clips:,} moving clips are too few to learn a basis from ({least}); the plain random"
                " projection is used. An index of more clips is ranked more faithfully."
            )
        else:
            self._progress.say(
                f"basis learned from {basis.clips:,} clips: of one like them that it has not seen it holds"
                f" {basis.captured:.0%}; the rest is that clip's own"
            )

    def indexed(self, result: Result, kept: bool) -> None:
        """Another row is done."""
        counts = self._counts
        counts[result] = counts.get(result, 0) + 1
        notes = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if name != "indexed")
        self._progress.step(kept=kept, notes=notes)


def built_document(built: BuiltIndex) -> dict[str, Any]:
    """What came of a run, as JSON values."""
    summary, basis = built.summary, built.basis
    return {
        "index": built.name,
        "recipe_digest": built.recipe.digest,
        "clips": dict(sorted(summary.results.items())),
        "withdrawn": summary.withdrawn,
        "problems": summary.problems,
        "remarks": summary.remarks,
        "refused": [
            {"row": row.number, "place": row.place, "reason": row.reason, "said": row.said} for row in built.refused
        ],
        "recovered": summary.recovered,
        "broken_batches": summary.broken_batches,
        "seconds": summary.seconds,
        "stage_seconds": dict(summary.stage_seconds),
        "basis": None
        if basis is None
        else {"digest": built.recipe.projection.basis, "clips": basis.clips, "captured": basis.captured},
    }


def print_built(console: Console, built: BuiltIndex) -> None:
    """Prints what became of a run's rows, and what its user should know."""
    name, summary, basis = built.name, built.summary, built.basis
    for line in summary.recovered:
        console.print(f"mended: {line}", markup=False, highlight=False)
    for line in summary.problems[:_SHOWN]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(summary.problems) > _SHOWN:
        rest = len(summary.problems) - _SHOWN
        console.print(
            f"... and {rest:,} more; motiontrace clips list --index {name} --outcome failed lists them", highlight=False
        )
    for line in summary.remarks[:_SHOWN]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(summary.remarks) > _SHOWN:
        rest = len(summary.remarks) - _SHOWN
        console.print(f"... and {rest:,} more files like these; their clips are used all the same", highlight=False)
    if summary.broken_batches:
        console.print(
            f"{summary.broken_batches:,} batches failed as a whole and were computed clip by clip; a smaller --batch"
            " is quicker if it was for want of memory",
            highlight=False,
            soft_wrap=True,
        )
    parts = [f"{count:,} {result.replace('_', ' ')}" for result, count in sorted(summary.results.items())]
    if summary.withdrawn:
        parts.append(f"{summary.withdrawn:,} withdrawn (their file has other content now, or an id)")
    console.print(
        f"index {name}: {', '.join(parts)} in {duration_text(summary.seconds)}, recipe {built.recipe.digest[:12]}",
        highlight=False,
        soft_wrap=True,
    )
    computed = summary.results["indexed"] + summary.results["no_motion"]
    if computed:
        each = {stage: 1000 * seconds / computed for stage, seconds in summary.stage_seconds.items()}
        console.print("a clip: " + ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in each.items()), highlight=False)
    if basis is not None and summary.captured.clips:
        _print_captured(console, summary, basis)


def _print_captured(console: Console, summary: Summary, basis: Basis) -> None:
    from motiontrace.indexer.calibration import no_longer_fits

    console.print(
        f"clips that the basis was not learned from: {summary.captured.clips:,}, it holds"
        f" {summary.captured.mean:.0%} of them; {basis.captured:.0%} is usual",
        highlight=False,
        soft_wrap=True,
    )
    if no_longer_fits(basis, summary.captured):
        console.print(
            "warning: these clips differ much from those that the index was made of, and its ranking of them cannot be"
            " relied on: make a new index of all clips under another name",
            highlight=False,
            soft_wrap=True,
        )
