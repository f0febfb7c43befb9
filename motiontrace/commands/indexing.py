"""What motiontrace index shows: progress while it runs, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.commands.progress import CLIPS, duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from motiontrace.attribution.basis import Basis
    from motiontrace.attribution.engine import MotionEngine
    from motiontrace.attribution.recipe import Recipe
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.commands.index import Run
    from motiontrace.commands.progress import Progress
    from motiontrace.indexer.calibration import Calibrated, CalibrationSettings
    from motiontrace.indexer.manifest import ManifestRow
    from motiontrace.indexer.measuring import KeptScales
    from motiontrace.indexer.run import Result, Summary

_SHOWN = 20


class Rows:
    """Moves the progress on by a row, and counts what became of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._counts: dict[Result, int] = {}

    def __call__(self, result: Result, kept: bool) -> None:
        """Another row is done; `kept`: it cost no computing."""
        counts = self._counts
        counts[result] = counts.get(result, 0) + 1
        notes = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if name != "indexed")
        self._progress.step(kept=kept, notes=notes)


def learn(
    progress: Progress,
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    places: CatalogSettings,
    index: str,
    settings: CalibrationSettings,
) -> Calibrated:
    """`calibrate` with progress; prints what the basis holds, or why there is none."""
    from motiontrace.indexer.calibration import calibrate

    progress.begin("learning the basis", min(settings.clips, len(rows)), CLIPS)
    on_row = lambda done, total, kept: progress.to(done, total, kept=kept)  # noqa: E731
    calibrated = calibrate(rows, engine, places, index, settings, on_row)
    progress.end()
    basis = calibrated.basis
    if basis is None:
        progress.say(
            f"{calibrated.clips:,} moving clips are too few to learn a basis from ({settings.least}); the plain random"
            " projection is used. An index of more clips is ranked more faithfully."
        )
    else:
        progress.say(
            f"basis learned from {basis.clips:,} clips: of one like them that it has not seen it holds"
            f" {basis.captured:.0%}; the rest is that clip's own"
        )
    return calibrated


def measure(
    progress: Progress, rows: Sequence[ManifestRow], engine: MotionEngine, kept: KeptScales, decoders: int
) -> MotionEngine:
    """What the recipe of a new index measures, with progress and not again where it is kept; prints the scales."""
    from motiontrace.indexer.measuring import measure_channel_scales, measure_gradient_scales

    engine = kept.given_to(engine)
    if engine.recipe.latent_normalisation == "channels":
        if engine.recipe.channel_scales is None:
            what = "measuring the latent channels"
            engine = _measure(progress, what, measure_channel_scales, rows, engine, decoders)
            kept.save(engine.recipe)
        scales = ", ".join(map("{:g}".format, engine.recipe.channel_scales or ()))
        progress.say(f"latent channels' scales: {scales}")
    if engine.recipe.gradient_normalisation == "tensors":
        if engine.recipe.gradient_scales is None:
            engine = _measure(progress, "measuring the gradients", measure_gradient_scales, rows, engine, decoders)
            kept.save(engine.recipe)
        found = engine.recipe.gradient_scales or ()
        progress.say(f"gradients' scales of {len(found)} parameters: {min(found):g} to {max(found):g}")
    return engine


def _measure(
    progress: Progress,
    what: str,
    measure: Callable[..., MotionEngine],
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    decoders: int,
) -> MotionEngine:
    from motiontrace.indexer.measuring import CLIPS as MOST

    progress.begin(what, min(MOST, len(rows)), CLIPS)
    measured = measure(rows, engine, decoders=decoders, on_clip=progress.to)
    progress.end()
    return measured


def print_share(console: Console, recipe: Recipe) -> None:
    """Prints how much of the denoiser a gradient is taken by."""
    share = recipe.attributed_parameters / recipe.denoiser_parameters
    console.print(
        f"attributed: {recipe.attributed_parameters:,} of the denoiser's {recipe.denoiser_parameters:,} parameters"
        f" ({share:.0%}), gradients {recipe.gradients}",
        highlight=False,
        soft_wrap=True,
    )


def run_document(name: str, run: Run) -> dict[str, Any]:
    """What came of a run, as JSON values."""
    summary, basis = run.summary, run.basis
    return {
        "index": name,
        "recipe_digest": run.recipe.digest,
        "clips": dict(sorted(summary.results.items())),
        "withdrawn": summary.withdrawn,
        "problems": summary.problems,
        "remarks": summary.remarks,
        "refused": [
            {"row": row.number, "place": row.place, "reason": row.reason, "said": row.said} for row in run.refused
        ],
        "recovered": summary.recovered,
        "broken_batches": summary.broken_batches,
        "seconds": summary.seconds,
        "stage_seconds": dict(summary.stage_seconds),
        "basis": None
        if basis is None
        else {"digest": run.recipe.projection.basis, "clips": basis.clips, "captured": basis.captured},
    }


def print_summary(console: Console, name: str, summary: Summary, recipe: Recipe, basis: Basis | None) -> None:
    """Prints what became of a run's rows, and what its user should know."""
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
        f"index {name}: {', '.join(parts)} in {duration_text(summary.seconds)}, recipe {recipe.digest[:12]}",
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
