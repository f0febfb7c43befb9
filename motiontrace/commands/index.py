"""motiontrace index: every clip of a manifest becomes a motion gradient."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from motiontrace.attribution.recipe import Recipe
from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.flags import flags_of
from motiontrace.commands.indexing import (
    Rows,
    learn,
    measure,
    print_share,
    print_summary,
    run_document,
)
from motiontrace.commands.options import given
from motiontrace.commands.progress import CLIPS, Progress
from motiontrace.commands.refusing import print_refused
from motiontrace.commands.stopping import resumable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motiontrace.attribution.basis import Basis
    from motiontrace.attribution.engine import MotionEngine
    from motiontrace.attribution.families import Checkpoint
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.catalog.vectors.lock import WriterLock
    from motiontrace.indexer.manifest import ManifestRow, RefusedRow
    from motiontrace.indexer.run import Summary


@flags_of(settings=Recipe)
def index(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSONL or Parquet file, or a folder with metadata.jsonl. Columns: video, caption, optional id;"
            " the rest is kept as metadata. What NeMo Curator and Data-Juicer write is read as it is."
        ),
    ],
    model: options.Model,
    index: options.Index,
    *,
    recipe: options.RecipeName = None,
    settings: dict[str, Any],
    basis_clips: options.BasisClips = options.BASIS_CLIPS,
    strict: options.Strict = False,
    device: options.Device = None,
    decoders: options.Decoders = 2,
    batch: options.Batch = None,
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Turn every clip of MANIFEST into a motion gradient and publish them as an index.

    A clip that cannot be used is recorded with its reason and skipped; a row that is no clip is passed over and counted
    by reason, unless --strict. The run can be killed at any moment: started
    again it goes on where it stopped, and clips that have not changed are not computed again.

    The options from --height to --projection-dim are the recipe, fixed when the index is made: what is not given comes
    from --recipe if that is given, else from the index itself, else from motiontrace.json in the checkpoint, else it is
    the default. A new index first measures its gradients on a sample of its clips and learns a basis
    from another, which are part of its recipe from then on.
    """
    from motiontrace.attribution.presets import PRESETS

    if recipe is not None and recipe not in PRESETS:
        raise typer.BadParameter(f"there are {' and '.join(PRESETS)}", param_hint="--recipe")
    if 0 < basis_clips < options.MIN_BASIS_CLIPS:
        why = f"a basis is learned from {options.MIN_BASIS_CLIPS} clips or more; 0 goes without"
        raise typer.BadParameter(why, param_hint="--basis-clips")
    console = Console(stderr=json)
    run = run_index(
        manifest,
        model,
        index,
        settings,
        console,
        preset=recipe,
        device=device,
        decoders=decoders,
        batch=batch,
        basis_clips=basis_clips,
        strict=strict,
        home=home,
        database_url=database_url,
    )
    if json:
        print_document(run_document(index, run))
    else:
        print_summary(console, index, run.summary, run.recipe, run.basis)
        print_refused(console, manifest, run.rows, run.refused)
    if not run.summary.results.keys() & {"indexed", "no_motion", "unchanged", "updated"}:
        raise typer.Exit(1)


_KEPT = "What is finished is in the index, or kept for it where there is none yet."


@dataclass(frozen=True)
class Run:
    """An indexing run that has ended, and what its index is made with."""

    summary: Summary
    recipe: Recipe
    basis: Basis | None
    rows: int
    """Rows of the manifest that are clips."""
    refused: list[RefusedRow]


def run_index(
    manifest: Path,
    model: str,
    name: str,
    settings: dict[str, Any],
    console: Console,
    *,
    preset: str | None = None,
    basis_clips: int = options.BASIS_CLIPS,
    strict: bool = False,
    device: str | None = None,
    decoders: int = 2,
    batch: int | None = None,
    home: Path | None = None,
    database_url: str | None = None,
) -> Run:
    """Opens everything, learns the basis of a new index, indexes with progress, and closes everything again.

    What is wrong with paths, names and settings is told first, then the index is claimed, then the model is loaded.
    """
    from motiontrace.attribution.families import find_checkpoint
    from motiontrace.attribution.presets import check_settings
    from motiontrace.catalog.database import Database, upgrade
    from motiontrace.catalog.publishing import claim
    from motiontrace.catalog.repositories import IndexRepository
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.manifest import read_manifest, require_files

    start = time.monotonic()
    check_settings(settings)
    refused: list[RefusedRow] = []
    rows = read_manifest(manifest, refused.append, strict=strict)
    require_files(manifest, rows)
    checkpoint = find_checkpoint(model)
    places = CatalogSettings(**given(home=home, database_url=database_url))
    upgrade(places.url)
    with resumable(_KEPT), closing(Database.open(places.url)) as database, Progress(console) as progress:
        with database.reading() as session:
            existing = IndexRepository(session).find(name)
        lock = claim(places, name, new=existing is None)
        try:
            progress.say(f"{len(rows):,} clips, model {model}")
            print_refused(console, manifest, len(rows), refused)
            engine, basis = _prepare(
                progress,
                rows,
                checkpoint,
                places,
                existing,
                name,
                settings,
                preset=preset,
                device=device,
                decoders=decoders,
                batch=batch,
                basis_clips=basis_clips,
            )
            summary = _index(progress, rows, checkpoint, engine, database, places, name, decoders, lock)
        finally:
            lock.release()
        summary.seconds = time.monotonic() - start
        return Run(summary, engine.recipe, basis, len(rows), refused)


def _prepare(
    progress: Progress,
    rows: Sequence[ManifestRow],
    checkpoint: Checkpoint,
    places: CatalogSettings,
    existing: IndexRecord | None,
    name: str,
    settings: dict[str, Any],
    *,
    preset: str | None,
    device: str | None,
    decoders: int,
    batch: int | None,
    basis_clips: int,
) -> tuple[MotionEngine, Basis | None]:
    """The engine that computes the index's gradients, with all that its recipe measures and learns.

    The index itself is not made yet: settings that the model refuses leave none behind.
    """
    progress.loading("the model's code")
    from motiontrace.attribution.basis import Basis
    from motiontrace.attribution.engine import load_engine, plan_recipe
    from motiontrace.catalog.publishing import check_recipe, recipe_of
    from motiontrace.indexer.calibration import CalibrationSettings
    from motiontrace.indexer.measuring import KeptScales

    progress.loading("the model")
    recipe = plan_recipe(checkpoint, settings, recipe_of(existing) if existing else None, preset)
    if existing is not None:
        check_recipe(existing, recipe)
    digest = recipe.projection.basis
    basis = None if digest is None else Basis.load(places.basis_directory, digest)
    engine = load_engine(checkpoint.location, recipe, basis=basis, device=device, batches=True)
    progress.end()
    engine.batch = batch or engine.batch
    progress.say(f"{recipe.frames} frames of {recipe.width}x{recipe.height}")
    print_share(progress.console, engine.recipe)
    if existing is None:
        engine = measure(progress, rows, engine, KeptScales(places, name, recipe), decoders)
    # A sketch no longer than a gradient is one: there is nothing to choose from.
    if existing is None and basis is None and basis_clips and recipe.projection.width > recipe.dim:
        how = CalibrationSettings(clips=basis_clips, decoders=decoders)
        calibrated = learn(progress, rows, engine, places, name, how)
        engine, basis = calibrated.engine, calibrated.basis
    return engine, basis


def _index(
    progress: Progress,
    rows: Sequence[ManifestRow],
    checkpoint: Checkpoint,
    engine: MotionEngine,
    database: Database,
    places: CatalogSettings,
    name: str,
    decoders: int,
    lock: WriterLock,
) -> Summary:
    from motiontrace.catalog.publishing import open_index
    from motiontrace.indexer.run import IndexingSettings, index_clips
    from motiontrace.indexer.sketches import KeptSketches

    record, store, recovered = open_index(
        database, places, name, recipe=engine.recipe, model=checkpoint.address, lock=lock
    )
    kept, running = KeptSketches(places, name, engine.recipe), IndexingSettings(decoders=decoders)
    with store:
        progress.begin("indexing", len(rows), CLIPS)
        summary = index_clips(rows, engine, database, store, record, recovered, kept, running, Rows(progress))
        progress.end()
    return summary
