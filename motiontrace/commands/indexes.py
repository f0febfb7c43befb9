"""motiontrace indexes: which there are, and what they are made with."""

from __future__ import annotations

from typing import Annotated

import typer

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.listing import moment, print_fields, print_table, reading

app = typer.Typer(help="See the indexes of the catalog.", no_args_is_help=True)


@app.command("list")
def list_indexes(json: AsJson = False, home: options.Home = None, database_url: options.DatabaseUrl = None) -> None:
    """List all indexes by name: how many clips each ranks, and the model it was made with."""
    from motiontrace.catalog.repositories import IndexRepository
    from motiontrace.service.indexes.documents import summary

    with reading(home, database_url) as session:
        indexes = [summary(overview) for overview in IndexRepository(session).overview()]
    if json:
        print_document([index.model_dump(mode="json") for index in indexes])
        return
    rows = (
        (
            index.name,
            f"{index.clips.indexed:,}",
            f"{index.clips.no_motion:,}",
            f"{index.clips.failed:,}",
            moment(index.updated_at),
            index.model,
        )
        for index in indexes
    )
    print_table(("index", "ranked", "no motion", "failed", "changed (UTC)", "model"), rows)


@app.command("show")
def show(
    index: Annotated[str, typer.Argument(metavar="NAME", autocompletion=options.index_names)],
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Show an index and its recipe: all that makes two gradients comparable."""
    from motiontrace.catalog.repositories import IndexRepository
    from motiontrace.service.indexes.documents import full

    with reading(home, database_url) as session:
        indexes = IndexRepository(session)
        wanted = indexes.get(index).name
        found = next(full(overview) for overview in indexes.overview() if overview.index.name == wanted)
    if json:
        print_document(found)
        return
    clips = f"{found.clips.indexed:,} ranked, {found.clips.no_motion:,} without motion, {found.clips.failed:,} failed"
    made = f"{moment(found.created_at)}, changed {moment(found.updated_at)} (UTC)"
    recipe = {name: value for name, value in found.recipe.items() if not isinstance(value, list) or len(value) < 20}
    print_fields(
        {
            "index": found.name,
            "clips": clips,
            "made": made,
            "model": found.model,
            "recipe": found.recipe_digest,
            **recipe,
        }
    )
