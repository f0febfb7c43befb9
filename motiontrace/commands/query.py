"""motiontrace query: which clips taught the motion of a video?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from motiontrace.commands import options
from motiontrace.commands.options import given

if TYPE_CHECKING:
    from service.queries.schemas import Hit, Query


def query(
    video: Annotated[Path, typer.Argument(help="The generated video.", exists=True, dir_okay=False)],
    prompt: Annotated[str, typer.Option(help="The prompt that it was generated from.")],
    index: options.AskedIndex = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Clips from each end of the list.")] = 10,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="MOTIONTRACE_URL", help="Ask this service.", show_default="the index under --home, directly"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    device: options.Device = None,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Rank the training clips by their influence on the motion of VIDEO: what taught it, and what fights it."""
    if url is not None:
        from service.client import Client

        with Client(url) as service:
            answer = service.ask(video, prompt, k=k, index=index)
    else:
        from service.direct import ask_index
        from service.settings import ServiceSettings

        settings = ServiceSettings(**given(device=device, home=home, database_url=database_url))
        answer = ask_index(settings, video, prompt, k=k, index=index)
    if json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        show_answer(Console(), answer)
    if answer.error is not None:
        if not json:
            Console(stderr=True).print(f"error: {answer.error.message}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def show_answer(console: Console, answer: Query) -> None:
    """Prints both ends of the ranking as people read them."""
    if answer.message:
        console.print(answer.message, markup=False, highlight=False)
    if answer.top:
        console.print(
            f"taught this motion (of {answer.ranked:,} clips in {answer.index})", style="bold", highlight=False
        )
        console.print(hit_table(answer.top, console.width))
        console.print("fights this motion", style="bold")
        console.print(hit_table(answer.bottom, console.width))
    stages = ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in answer.timings.items())
    console.print(f"recipe {(answer.recipe_digest or '')[:12]}; {stages}", highlight=False, soft_wrap=True)


def hit_table(hits: list[Hit], width: int, columns: tuple[str, ...] = ()) -> Table:
    """A table of clips, ``width`` characters wide at most; ``columns`` name metadata to show beside the caption."""
    table = Table(box=None, padding=(0, 1))
    heads = ["rank", "score", "clip", *columns]
    rows = [
        [f"{hit.rank}", f"{hit.score:+.3f}", hit.id, *(str(hit.metadata.get(c, "")) for c in columns)] for hit in hits
    ]
    left = width - 2  # only the caption gives way where the terminal is narrow
    for head, cells in zip(heads, zip(*rows, strict=True), strict=True):
        table.add_column(head, justify="right" if head in ("rank", "score") else "left", no_wrap=True)
        left -= max(map(len, (head, *cells))) + 2
    table.add_column("caption", no_wrap=True, overflow="ellipsis", max_width=max(left, 8))
    for row, hit in zip(rows, hits, strict=True):
        table.add_row(*row, hit.caption or "")
    return table
