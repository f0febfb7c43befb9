"""What motiontrace select shows: progress while it runs, and what was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rich.table import Table

from motiontrace.commands.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

    from motiontrace.commands.progress import Unit
    from motiontrace.curation.selection.queries import LeftOut
    from motiontrace.curation.selection.run import Selection
    from motiontrace.curation.selection.writing import Written


class Step(Protocol):
    """Hears how much of how much is done, and how much of that was there before."""

    def __call__(self, done: int, total: int, kept: int = 0) -> None:
        """So much is done."""
        ...


_SHOWN = 20
_MOST_ROWS = 8  # of votes
_FATES = {
    "over_budget": "over the budget",
    "dropped_by_label": "dropped by reviewers",
    "dropped_as_worst": "dropped as least related",
}


@contextmanager
def steps(console: Console, title: str, unit: Unit, total: int | None = None) -> Iterator[Step]:
    """Progress of one part, called with what is done, the total, and what an earlier run had done."""
    with Progress(console) as progress:
        progress.begin(title, total, unit)
        yield lambda done, total, kept=0: progress.to(done, total, kept=kept)


def note_left_out(console: Console, query: LeftOut) -> None:
    """Says of a query that it does not vote."""
    console.print(f"left out: {query.name}: {query.reason}", markup=False)


def selection_document(selection: Selection) -> dict[str, Any]:
    """A selection as JSON values."""
    from motiontrace.curation.selection.writing import about

    return {**about(selection), "chosen_sha256": selection.chosen_sha256}


def print_selection(console: Console, selection: Selection) -> None:
    """Prints how many clips were chosen, by what, and what became of the others."""
    counts = selection.counts
    voters = sum("left_out" not in query for query in selection.queries)
    name = "" if selection.name is None else f" {selection.name!r}"
    console.print(
        f"selection {selection.id}{name}: {counts['chosen']:,} of the {counts['ranked']:,} clips that move in"
        f" {selection.index.name}, by {voters:,} {'query' if voters == 1 else 'queries'}",
        markup=False,
    )
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("chosen", f"{counts['chosen']:,}")
    for votes, clips in _by_votes(counts["by_votes"]):
        table.add_row(f"  with {votes}", f"{clips:,}")
    for count, what in (("chosen_by_floor", "  for a floor"), ("weighed_down", "  weighed down by reviewers")):
        if counts[count]:
            table.add_row(what, f"{counts[count]:,}")
    for count, what in _FATES.items():
        if counts[count]:
            table.add_row(what, f"{counts[count]:,}")
    if counts["dropped_as_worst"]:
        table.add_row("  of which fight the motion by more than chance", f"{counts['dropped_that_fight']:,}")
    if counts["no_motion"]:
        kept = f", {counts['no_motion_kept']:,} kept" if counts["no_motion_kept"] else ""
        table.add_row(f"nothing moves, not ranked{kept}", f"{counts['no_motion']:,}")
    if counts["failed"]:
        table.add_row("not in the index, failed", f"{counts['failed']:,}")
    console.print(table)
    if counts["floors"]:
        console.print(_floors(counts["floors"]))
        if len(counts["floors"]) > _SHOWN:
            console.print(f"... and {len(counts['floors']) - _SHOWN:,} more floors")


def _by_votes(by_votes: dict[str, int]) -> list[tuple[str, int]]:
    """Clips by their number of votes, the most first; where there are many numbers, by ranges of them."""
    counted = sorted(((int(votes), clips) for votes, clips in by_votes.items()), reverse=True)
    size = -(-len(counted) // _MOST_ROWS)
    rows = []
    for start in range(0, len(counted), max(size, 1)):
        part = counted[start : start + size]
        most, least = part[0][0], part[-1][0]
        votes = f"{most:,}" if most == least else f"{least:,} to {most:,}"
        rows.append((f"{votes} {'vote' if votes == '1' else 'votes'}", sum(clips for _, clips in part)))
    return rows


def _floors(floors: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for head in ("floor", "at least", "there are", "chosen"):
        table.add_column(head, justify="left" if head == "floor" else "right")
    for floor in floors[:_SHOWN]:
        cells = [f"{floor[name]:,}" for name in ("asked", "available", "chosen")]
        table.add_row(f"{floor['column']}:{floor['value']}", *cells)
    return table


def print_written(console: Console, written: Written) -> None:
    """Prints what was written where."""
    for each in written.left_out[:_SHOWN]:
        console.print(f"left out: {each.id} ({each.path}): {each.reason}", markup=False)
    if len(written.left_out) > _SHOWN:
        console.print(f"left out: {len(written.left_out) - _SHOWN:,} more")
    how = {"hardlink": "linked", "symlink": "symbolic links", "copy": "copied"}
    placed = ", ".join(f"{count:,} {how[way]}" for way, count in sorted(written.placed.items()))
    console.print(f"{written.output}: {written.clips:,} clips" + (f", videos {placed}" if placed else ""), markup=False)
