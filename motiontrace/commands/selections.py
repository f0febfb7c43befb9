"""motiontrace selections: what motiontrace select has stored."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import given

if TYPE_CHECKING:
    from motiontrace.catalog.records import SelectionRecord


def selections(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, the newest first.")] = 20,
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """List the selections that motiontrace select has stored, the newest first."""
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import SelectionRepository
    from motiontrace.catalog.settings import CatalogSettings

    places = CatalogSettings(**given(home=home, database_url=database_url))
    with closing(Database.open(places.url, reading=True)) as database, database.reading() as session:
        found = SelectionRepository(session).latest(limit)
    _print(Console(highlight=False, width=max(Console().width, 120)), found, json=json)


def _print(console: Console, selections: list[SelectionRecord], *, json: bool) -> None:
    if json:
        documents = [
            {
                "id": each.id,
                "name": each.name,
                "index": each.index_name,
                "recipe": each.recipe_digest,
                "manifest_version": each.manifest_version,
                "created_at": each.created_at.isoformat(),
                "settings": each.settings,
                "queries": each.queries,
                "counts": each.counts,
                "chosen_sha256": each.chosen_sha256,
            }
            for each in selections
        ]
        print_document(documents)
        return
    if not selections:
        console.print("There is no selection yet: motiontrace select makes one.")
        return
    table = Table(box=None, padding=(0, 1))
    for head in ("selection", "name", "index", "made (UTC)", "queries", "chosen", "of"):
        table.add_column(head, justify="right" if head in ("queries", "chosen", "of") else "left", no_wrap=True)
    for each in selections:
        voters = sum("left_out" not in query for query in each.queries)
        chosen = each.counts["chosen"] + each.counts["no_motion_kept"]
        table.add_row(
            each.id,
            each.name or "",
            each.index_name,
            f"{each.created_at:%Y-%m-%d %H:%M}",
            f"{voters:,}",
            f"{chosen:,}",
            f"{each.counts['ranked']:,}",
        )
    console.print(table)
