"""What the verbs that show the catalog share: it is opened, and read as people read it."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from motiontrace.commands.options import given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.orm import Session

Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
After = Annotated[str | None, typer.Option(help="Go on behind this place, which the list before ended with.")]
_WIDTH = 160  # where no terminal says how wide it is


@contextmanager
def reading(home: Path | None, database_url: str | None) -> Iterator[Session]:
    """The catalog, to be read."""
    from catalog.database import Database
    from catalog.settings import CatalogSettings

    places = CatalogSettings(**given(home=home, database_url=database_url))
    with closing(Database.open(places.url, reading=True)) as database, database.reading() as session:
        yield session


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], next: str | None = None) -> None:
    """Prints rows under their heads, cut where the terminal ends, and where the list goes on."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(box=None, padding=(0, 1))
    for head in heads:
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if next is not None:
        console.print(f"more: --after {next}", markup=False, soft_wrap=True)


def print_fields(fields: dict[str, object]) -> None:
    """Prints names and values, a line each; those that nobody knows are left out."""
    width = max(map(len, fields))
    for name, value in fields.items():
        if value is not None and value != {}:
            typer.echo(f"{name.ljust(width)}  {value}")


def moment(time: datetime | None) -> str:
    """A time as people read it, in UTC."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"
