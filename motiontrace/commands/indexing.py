"""What motiontrace index shows: progress while it runs, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from attribution.basis import Basis
    from attribution.engine import MotionEngine
    from attribution.recipe import Recipe
    from catalog.settings import CatalogSettings
    from indexer.calibration import Calibrated, CalibrationSettings
    from indexer.manifest import ManifestRow
    from indexer.measuring import KeptScales
    from indexer.run import Result, Summary

_SHOWN = 20


def bar(console: Console, title: str) -> Progress:
    """A progress bar over clips; its tasks have the fields rate and notes."""
    return Progress(
        TextColumn(title), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[notes]}"),
        console=console,
    )  # fmt: skip


def advance_by_row(progress: Progress, total: int) -> Callable[[Result], None]:
    """What moves the bar on by a row and counts what became of it."""
    task = progress.add_task("indexing", total=total, rate="", notes="")
    counts: dict[Result, int] = {}

    def advance(result: Result) -> None:
        counts[result] = counts.get(result, 0) + 1
        notes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if name != "indexed")
        progress.update(task, advance=1, rate=_rate(progress), notes=notes)

    return advance


def learn(console: Console, rows: Sequence[ManifestRow], engine: MotionEngine, places: CatalogSettings,
          index: str, settings: CalibrationSettings) -> Calibrated:  # fmt: skip
    """`calibrate` with a progress bar; prints what the basis holds, or why there is none."""
    from indexer.calibration import calibrate

    with bar(console, "learning the basis") as progress:
        task = progress.add_task("learning", total=None, rate="", notes="")

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, rate=_rate(progress))

        calibrated = calibrate(rows, engine, places, index, settings, advance)
    basis = calibrated.basis
    if basis is None:
        console.print(
            f"{calibrated.clips:,} moving clips are too few to learn a basis from ({settings.least}); the plain random"
            " projection is used. An index of more clips is ranked more faithfully.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    else:
        console.print(
            f"basis learned from {basis.clips:,} clips: of one like them that it has not seen it holds"
            f" {basis.captured:.0%}; the rest is that clip's own", highlight=False, soft_wrap=True,
        )  # fmt: skip
    return calibrated


def measure(console: Console, rows: Sequence[ManifestRow], engine: MotionEngine, kept: KeptScales, decoders: int
            ) -> MotionEngine:  # fmt: skip
    """What the recipe of a new index measures, with progress bars and not again where it is kept; prints the scales."""
    from indexer.measuring import measure_channel_scales, measure_gradient_scales

    engine = kept.given_to(engine)
    if engine.recipe.latent_normalisation == "channels":
        if engine.recipe.channel_scales is None:
            what = "measuring the latent channels"
            engine = _measure(console, what, measure_channel_scales, rows, engine, decoders)
            kept.save(engine.recipe)
        scales = ", ".join(map("{:g}".format, engine.recipe.channel_scales or ()))
        console.print(f"latent channels' scales: {scales}", highlight=False, soft_wrap=True)
    if engine.recipe.gradient_normalisation == "tensors":
        if engine.recipe.gradient_scales is None:
            engine = _measure(console, "measuring the gradients", measure_gradient_scales, rows, engine, decoders)
            kept.save(engine.recipe)
        found = engine.recipe.gradient_scales or ()
        console.print(
            f"gradients' scales of {len(found)} parameters: {min(found):g} to {max(found):g}", highlight=False,
            soft_wrap=True,
        )  # fmt: skip
    return engine


def _measure(console: Console, what: str, measure: Callable[..., MotionEngine], rows: Sequence[ManifestRow],
             engine: MotionEngine, decoders: int) -> MotionEngine:  # fmt: skip
    from indexer.measuring import CLIPS

    with bar(console, what) as progress:
        task = progress.add_task("measuring", total=min(CLIPS, len(rows)), rate="", notes="")

        def advance(done: int) -> None:
            progress.update(task, completed=done, rate=_rate(progress))

        return measure(rows, engine, decoders=decoders, on_clip=advance)


def print_share(console: Console, recipe: Recipe) -> None:
    """Prints how much of the denoiser a gradient is taken by."""
    share = recipe.attributed_parameters / recipe.denoiser_parameters
    console.print(
        f"attributed: {recipe.attributed_parameters:,} of the denoiser's {recipe.denoiser_parameters:,} parameters"
        f" ({share:.0%}), gradients {recipe.gradients}", highlight=False, soft_wrap=True,
    )  # fmt: skip


def print_summary(console: Console, name: str, summary: Summary, recipe: Recipe, basis: Basis | None) -> None:
    """Prints what became of a run's rows, and what its user should know."""
    for line in summary.recovered:
        console.print(f"mended: {line}", markup=False, highlight=False)
    for line in summary.problems[:_SHOWN]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(summary.problems) > _SHOWN:
        rest = len(summary.problems) - _SHOWN
        console.print(f"... and {rest} more; GET /v1/clips?index={name}&outcome=failed lists them", highlight=False)
    if summary.broken_batches:
        console.print(
            f"{summary.broken_batches:,} batches failed as a whole and were computed clip by clip; a smaller --batch"
            " is quicker if it was for want of memory", highlight=False, soft_wrap=True,
        )  # fmt: skip
    parts = [f"{count:,} {result.replace('_', ' ')}" for result, count in sorted(summary.results.items())]
    if summary.withdrawn:
        parts.append(f"{summary.withdrawn:,} withdrawn (their file has other content now, or an id)")
    console.print(
        f"index {name}: {', '.join(parts)} in {summary.seconds:.0f} s, recipe {recipe.digest[:12]}", highlight=False,
        soft_wrap=True,
    )  # fmt: skip
    computed = summary.results["indexed"] + summary.results["no_motion"]
    if computed:
        each = {stage: 1000 * seconds / computed for stage, seconds in summary.stage_seconds.items()}
        console.print("a clip: " + ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in each.items()), highlight=False)
    if basis is not None and summary.captured.clips:
        _print_captured(console, summary, basis)


def _print_captured(console: Console, summary: Summary, basis: Basis) -> None:
    from indexer.calibration import no_longer_fits

    console.print(
        f"clips that the basis was not learned from: {summary.captured.clips:,}, it holds"
        f" {summary.captured.mean:.0%} of them; {basis.captured:.0%} is usual", highlight=False, soft_wrap=True,
    )  # fmt: skip
    if no_longer_fits(basis, summary.captured):
        console.print(
            "warning: these clips differ much from those that the index was made of, and its ranking of them cannot be"
            " relied on: make a new index of all clips under another name", highlight=False, soft_wrap=True,
        )  # fmt: skip


def _rate(progress: Progress) -> str:
    speed = progress.tasks[0].speed
    return f"{speed:.1f} clips/s" if speed else ""
