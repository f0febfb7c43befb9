"""What the verbs that show the catalog share: it is opened, and read as people read it."""

from __future__ import annotations

import shlex
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from motiontrace.commands.hits import LEAST, cut_behind_a_word, cut_in_the_middle, one_line, print_whole, room
from motiontrace.commands.options import given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.orm import Session

Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
After = Annotated[str | None, typer.Option(help="Go on behind this place, which the list before ended with.")]


@contextmanager
def reading(home: Path | None, database_url: str | None) -> Iterator[Session]:
    """The catalog, to be read."""
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.settings import CatalogSettings

    places = CatalogSettings(**given(home=home, database_url=database_url))
    with closing(Database.open(places.url, reading=True)) as database, database.reading() as session:
        yield session


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], next: str | None = None) -> None:
    """Prints rows under their heads, without the columns that say nothing, and where the list goes on.

    The first column is whole: commands take its ids. Where the terminal is too narrow, the last one gives way, then
    those between.
    """
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 1))
    lines = [[one_line(cell) for cell in row] for row in rows]
    saying = [number for number in range(len(heads)) if not lines or any(line[number] for line in lines)]
    for number in saying:
        table.add_column(heads[number], no_wrap=True)
    lines = [list(heads), *lines]
    for line in _fitted([[line[number] for number in saying] for line in lines], room(console))[1:]:
        table.add_row(*map(Text, line))
    print_whole(console, table)
    if next is not None:
        console.print(f"more: --after {shlex.quote(next)}", markup=False, soft_wrap=True)


def _fitted(lines: list[list[str]], width: int) -> list[list[str]]:
    """Lines of cells, cut so that they are `width` characters wide, as far as ids and the least of the rest allow."""
    if width - sum(_widths(lines)[:-1]) - 2 < LEAST:
        lines = [[line[0], *(cut_in_the_middle(cell, LEAST) for cell in line[1:-1]), line[-1]] for line in lines]
    left = max(LEAST, width - sum(_widths(lines)[:-1]) - 2)
    return [[*line[:-1], cut_behind_a_word(line[-1], left)] for line in lines]


def _widths(lines: list[list[str]]) -> list[int]:
    """The characters that each column takes, with the blanks beside it."""
    return [max(map(cell_len, column)) + 2 for column in zip(*lines, strict=True)]


def print_fields(fields: dict[str, object]) -> None:
    """Prints names and values, a line each; unknown values are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value is not None and value != {}:
            typer.echo(f"{name.ljust(width)}  {one_line(value)}")


def moment(time: datetime | None) -> str:
    """A time as people read it, in UTC."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"
