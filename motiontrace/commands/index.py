"""motiontrace index: every clip of a manifest becomes a motion gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from motiontrace.attribution.recipe import Recipe
from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.flags import flags_of
from motiontrace.commands.indexing import building, built_document, print_built
from motiontrace.commands.options import given
from motiontrace.commands.refusing import print_refused


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

    A clip that cannot be used is recorded with its reason and skipped. A row that is no clip is passed over and counted
    by reason, unless --strict. The run can be killed at any moment: started again, it goes on where it stopped. Clips
    that have not changed are not computed again.

    The options from --height to --projection-dim are the recipe, fixed when the index is made. What is not given comes
    from --recipe, else from the index itself, else from motiontrace.json in the checkpoint, else it is the default. A
    new index first measures its gradients on a sample of its clips, and learns a basis from another sample. Both are
    part of its recipe from then on.
    """
    from motiontrace.attribution.presets import PRESETS
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.build import build_index

    if recipe is not None and recipe not in PRESETS:
        raise typer.BadParameter(f"there are {' and '.join(PRESETS)}", param_hint="--recipe")
    if 0 < basis_clips < options.MIN_BASIS_CLIPS:
        why = f"a basis is learned from {options.MIN_BASIS_CLIPS} clips or more; 0 goes without"
        raise typer.BadParameter(why, param_hint="--basis-clips")
    console = Console(stderr=json)
    places = CatalogSettings(**given(home=home, database_url=database_url))
    with building(console, manifest, model) as heard:
        built = build_index(
            manifest,
            model,
            index,
            settings,
            places,
            heard,
            preset=recipe,
            basis_clips=basis_clips,
            strict=strict,
            device=device,
            decoders=decoders,
            batch=batch,
        )
    if json:
        print_document(built_document(built))
    else:
        print_built(console, built)
        print_refused(console, manifest, built.clips, built.refused)
    if not built.summary.results.keys() & {"indexed", "no_motion", "unchanged", "updated"}:
        raise typer.Exit(1)
