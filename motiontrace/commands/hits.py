"""Clips of a ranking as a table that people read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from motiontrace.documents.queries import Hit

LEAST = 24  # characters of a caption, and of a file's name, where the terminal has them
_FEWEST = 12  # of each, whatever else gives way: less tells nothing
WIDE = 2000  # where nobody looks, as in a file or a pipe, nothing is cut
MORE = "…"


def print_hits(console: Console, hits: Sequence[Hit], columns: Sequence[str] = ()) -> None:
    """Prints a table of clips, as wide as the terminal; `columns` name metadata to show beside the caption."""
    print_whole(console, hit_table(hits, room(console), columns))


def room(console: Console) -> int:
    """How many characters wide a table should be."""
    return console.width if console.is_terminal or "COLUMNS" in os.environ else WIDE


def print_whole(console: Console, table: Table) -> None:
    """Prints a table with all its columns, wider than the terminal rather than with ids and numbers cut."""
    before = console.width
    console.width = WIDE  # what is measured is at most as wide
    try:
        console.width = max(before, console.measure(table).maximum)
        console.print(table)
    finally:
        console.width = before


def hit_table(hits: Sequence[Hit], width: int, columns: Sequence[str] = ()) -> Table:
    """The table, `width` characters wide at most, where there is room for the fewest of a caption.

    Captions give way first, behind a word; then files' names, in their middle. Numbers and ids stay whole.
    A clip whose score stands out from chance has a star.
    """
    heads = ("rank", "score", "", "clip", *columns)
    rows = [
        (
            f"{hit.rank}",
            f"{hit.score:+.3f}",
            "*" if hit.stands_out else "",
            one_line(hit.id),
            *(one_line(hit.metadata.get(name)) for name in columns),
        )
        for hit in hits
    ]
    files, captions = [one_line(hit.file_name) for hit in hits], [one_line(hit.caption) for hit in hits]
    left = width - sum(_width(head, cells) + 2 for head, cells in zip(heads, zip(*rows, strict=True), strict=True)) - 4
    least = min(LEAST, max(_FEWEST, left // 2))
    most = max(least, left - min(_width("caption", captions), 2 * LEAST))
    for_files = min(_width("file", files), most)
    for_captions = max(least, left - for_files)
    table = Table(box=None, padding=(0, 1))
    for head in (*heads, "file", "caption"):
        table.add_column(head, justify="right" if head in ("rank", "score") else "left", no_wrap=True)
    for row, file, caption in zip(rows, files, captions, strict=True):
        # As they are: brackets are no markup here.
        table.add_row(*map(Text, (*row, cut_in_the_middle(file, for_files), cut_behind_a_word(caption, for_captions))))
    return table


def one_line(value: object) -> str:
    """A value in one line, with nothing in it that a terminal would obey; "" for None."""
    text = " ".join(("" if value is None else str(value)).split())
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def cut_behind_a_word(text: str, width: int) -> str:
    """The words at the beginning of a text that fit; of one that is longer than that, what fits of it."""
    if cell_len(text) <= width:
        return text
    room = set_cell_size(text, width - 1)
    whole = room if text[len(room) : len(room) + 1] == " " else room.rpartition(" ")[0]
    return (whole if cell_len(whole) * 2 >= width else room).rstrip(" ,;:") + MORE


def cut_in_the_middle(name: str, width: int) -> str:
    """A file's name with its beginning and its end, where they differ most."""
    if cell_len(name) <= width:
        return name
    end = name[-((width - 1) // 2) :]
    while cell_len(end) > (width - 1) // 2:
        end = end[1:]
    return set_cell_size(name, width - 1 - cell_len(end)).rstrip() + MORE + end


def _width(head: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, (head, *cells)))
