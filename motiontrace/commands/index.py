"""motiontrace index: every clip of a manifest becomes a motion gradient."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from motiontrace.commands import options
from motiontrace.commands.options import given

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.run import Result, Summary

_SHOWN = 20


def index(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSONL or Parquet file, or a folder with metadata.jsonl. Columns: video, caption, optional id;"
            " the rest is kept as metadata."
        ),
    ],
    model: options.Model,
    index: options.Index,
    height: options.Height = None,
    width: options.Width = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    timestep: options.Timestep = None,
    noise_seed: options.NoiseSeed = None,
    dtype: options.Dtype = None,
    parameters: options.Parameters = None,
    projection: options.ProjectionKind = None,
    projection_seed: options.ProjectionSeed = None,
    motion_floor: options.MotionFloor = None,
    device: options.Device = None,
    decoders: options.Decoders = 2,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Turn every clip of MANIFEST into a motion gradient and publish them as an index.

    A clip that cannot be used is recorded with its reason and skipped. The run can be killed at any moment: started
    again it goes on where it stopped, and clips that have not changed are not computed again.

    The options from --height to --motion-floor are the recipe, fixed when the index is made: what is not given comes
    from the index itself, else from motiontrace.json in the checkpoint, else it is the default shown.
    """
    settings: dict[str, Any] = given(
        height=height, width=width, frames=frames, fps=fps, timestep=timestep, noise_seed=noise_seed, dtype=dtype,
        parameters=parameters or None, projection=given(kind=projection, seed=projection_seed) or None,
        motion=given(floor=motion_floor) or None,
    )  # fmt: skip
    console = Console()
    summary = run_index(manifest, model, index, settings, console, device=device, decoders=decoders, home=home,
                        database_url=database_url)  # fmt: skip
    _print_summary(console, index, summary)
    if not summary.results.keys() & {"indexed", "no_motion", "unchanged"}:
        raise typer.Exit(1)


def run_index(manifest: Path, model: str, name: str, settings: dict[str, Any], console: Console, *, device: str | None,
              decoders: int, home: Path | None, database_url: str | None) -> Summary:  # fmt: skip
    """Opens everything, indexes with a progress bar, and closes everything again."""
    from attribution.engine import load_engine, plan_recipe
    from attribution.families import find_checkpoint
    from attribution.recipe import Recipe
    from catalog.database import Database, upgrade
    from catalog.publishing import check_recipe, open_index
    from catalog.repositories import IndexRepository
    from catalog.settings import CatalogSettings
    from indexer.manifest import read_manifest
    from indexer.run import IndexingSettings, index_clips

    rows = read_manifest(manifest)
    checkpoint = find_checkpoint(model)
    places = CatalogSettings(**given(home=home, database_url=database_url))
    upgrade(places.url)
    database = Database.open(places.url)
    try:
        with database.reading() as session:
            existing = IndexRepository(session).find(name)
        recipe = plan_recipe(checkpoint, settings, Recipe.from_json(existing.recipe) if existing else None)
        size = f"{recipe.frames} frames of {recipe.width}x{recipe.height}"
        console.print(f"{len(rows):,} clips, model {model}, {size}, recipe {recipe.digest[:12]}", highlight=False)
        if existing is not None:
            check_recipe(existing, recipe)  # before the model is loaded, which may take minutes
        # And the model before the index is made: settings that it refuses leave no index behind.
        engine = load_engine(model, recipe, device=device)
        record, store, recovered = open_index(database, places, name, recipe=recipe, model=checkpoint.address)
        with store:
            # SIGTERM ends a run as Ctrl-C does: what is finished is published.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with _bar(console) as progress:
                advance = _advance(progress, len(rows))
                running = IndexingSettings(decoders=decoders)
                return index_clips(rows, engine, database, store, record, recovered, running, advance)
    finally:
        database.close()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("indexing"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[notes]}"),
        console=console,
    )  # fmt: skip


def _advance(progress: Progress, total: int) -> Callable[[Result], None]:
    task = progress.add_task("indexing", total=total, rate="", notes="")
    counts: dict[Result, int] = {}

    def advance(result: Result) -> None:
        counts[result] = counts.get(result, 0) + 1
        speed = progress.tasks[0].speed
        notes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if name != "indexed")
        progress.update(task, advance=1, rate=f"{speed:.1f} clips/s" if speed else "", notes=notes)

    return advance


def _print_summary(console: Console, name: str, summary: Summary) -> None:
    for line in summary.recovered:
        console.print(f"mended: {line}", markup=False, highlight=False)
    for line in summary.problems[:_SHOWN]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(summary.problems) > _SHOWN:
        rest = len(summary.problems) - _SHOWN
        console.print(f"... and {rest} more; GET /v1/clips?index={name}&outcome=failed lists them", highlight=False)
    parts = [f"{count:,} {result.replace('_', ' ')}" for result, count in sorted(summary.results.items())]
    if summary.withdrawn:
        parts.append(f"{summary.withdrawn:,} withdrawn (their file has other content now, or an id)")
    console.print(f"index {name}: {', '.join(parts)} in {summary.seconds:.0f} s", highlight=False)
    computed = summary.results["indexed"] + summary.results["no_motion"]
    if computed:
        each = {stage: 1000 * seconds / computed for stage, seconds in summary.stage_seconds.items()}
        console.print("a clip: " + ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in each.items()), highlight=False)
