"""motiontrace queries: what was asked and is kept, without a service and without a model."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.listing import After, Limit, moment, print_fields, print_table, reading

app = typer.Typer(
    help="See the queries that a service has answered, or motiontrace query --keep.", no_args_is_help=True
)


class Status(StrEnum):
    """What a query is at."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


@app.command("list")
def list_queries(
    index: options.ListedIndex = None,
    status: Annotated[Status | None, typer.Option(help="Only queries that are at this.")] = None,
    limit: Limit = 50,
    after: After = None,
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """List queries, the newest first: the id by which labels and select know each."""
    from motiontrace.answering.documents import summary
    from motiontrace.catalog.errors import CatalogError
    from motiontrace.catalog.repositories import IndexRepository, QueryRepository

    with reading(home, database_url) as session:
        chosen = None if index is None else IndexRepository(session).get(index).id
        try:
            page = QueryRepository(session).page(
                status=None if status is None else status.value, index_id=chosen, after=after, limit=limit
            )
        except ValueError as error:
            raise CatalogError(f"{error} Take it from the end of the list before.") from error
        queries = [summary(session, query) for query in page.items]
    if json:
        print_document({"queries": [query.model_dump(mode="json") for query in queries], "next": page.next})
        return
    rows = [
        (
            query.id,
            moment(query.created_at),
            query.index,
            query.status,
            f"clip {query.clip}" if query.prompt is None else query.prompt,
        )
        for query in queries
    ]
    heads = ("query", "asked (UTC)", "index", "status", "prompt, or clip")
    print_table(heads, rows, page.next)


@app.command("show")
def show(
    query: Annotated[str, typer.Argument(metavar="ID", help="The query's id.")],
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Show a query and both ends of its ranking, as motiontrace query does."""
    from motiontrace.answering.documents import full
    from motiontrace.catalog.errors import CatalogError
    from motiontrace.catalog.repositories import QueryRepository
    from motiontrace.commands.query import in_own_words, show_answer

    with reading(home, database_url) as session:
        record = QueryRepository(session).get(query)
        found = None if record is None else full(session, record, str)
    if found is None:
        raise CatalogError(
            f"There is no query {query!r}: motiontrace queries list shows those that are kept; motiontrace query --keep"
            " keeps its own."
        )
    found = in_own_words(found)
    if json:
        print_document(found)
        return
    print_fields(
        {
            "query": found.id,
            "asked": f"{moment(found.created_at)} (UTC)",
            "index": found.index,
            "status": found.status,
            "prompt": found.prompt,
            "clip": found.clip,
            "error": None if found.error is None else found.error.message,
        }
    )
    if found.status == "done":
        show_answer(Console(), found)
