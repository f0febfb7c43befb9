"""motiontrace clips: what the catalog knows of clips, without a service and without a model."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.hits import one_line
from motiontrace.commands.listing import After, Limit, print_fields, print_table, reading

app = typer.Typer(help="See the clips of the catalog.", no_args_is_help=True)


class Outcome(StrEnum):
    """What became of a clip in an index."""

    indexed = "indexed"
    no_motion = "no_motion"
    failed = "failed"


@app.command("list")
def list_clips(
    index: options.ListedIndex = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only clips that came to this in --index.")] = None,
    text: Annotated[str | None, typer.Option(help="Only clips whose caption contains this, in any case.")] = None,
    limit: Limit = 50,
    after: After = None,
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """List clips by id: the file, the caption, the label, and with --index what became of each there."""
    from motiontrace.catalog.repositories import ClipRepository, IndexRepository
    from motiontrace.service.clips.documents import listed

    if outcome is not None and index is None:
        raise typer.BadParameter("an outcome belongs to an index: name that too", param_hint="--index")
    with reading(home, database_url) as session:
        chosen = None if index is None else IndexRepository(session).get(index)
        page = ClipRepository(session).page(
            index_id=None if chosen is None else chosen.id,
            outcome=None if outcome is None else outcome.value,
            search=text,
            after=after,
            limit=limit,
        )
        clips = listed(session, page.items, chosen, str)
    if json:
        print_document({"clips": [clip.model_dump(mode="json") for clip in clips], "next": page.next})
        return
    rows = [
        (
            clip.id,
            clip.file_name,
            "" if clip.entry is None else clip.entry.outcome,
            clip.verdict or "",
            clip.decision or "",
            (clip.entry and clip.entry.reason) or clip.caption,
        )
        for clip in clips
    ]
    heads = ("clip", "file", "outcome", "verdict", "decision", "caption, or why not")
    print_table(heads, rows, page.next)


@app.command("show")
def show(
    clip: Annotated[str, typer.Argument(metavar="ID", help="The clip's id.")],
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Show a clip as it was indexed last, what it is labelled as, and what became of it in each index.

    Where an index has other values, they are shown with that index.
    """
    from motiontrace.catalog.errors import CatalogError
    from motiontrace.service.clips.documents import read

    with reading(home, database_url) as session:
        found = read(session, clip, str)
    if found is None:
        raise CatalogError(f"There is no clip {clip!r}: motiontrace clips list shows those that there are.")
    if json:
        print_document(found)
        return
    size = None if found.width is None else f"{found.width}x{found.height}, {found.frames} frames, {found.seconds:g} s"
    print_fields(
        {
            "clip": found.id,
            "path": found.path,
            "caption": found.caption,
            "metadata": found.metadata,
            "video": size,
            "codec": found.codec,
            "damaged frames": found.damaged_frames or None,
            "time jumps": found.time_jumps or None,
            "verdict": found.verdict,
            "decision": found.decision,
        }
    )
    for entry in found.indexes:
        typer.echo(f"index {entry.index}: {entry.outcome}" + (f", {one_line(entry.reason)}" if entry.reason else ""))
        print_fields(
            {
                f"  its {name}": getattr(entry, name)
                for name in ("path", "caption", "metadata")
                if getattr(entry, name) != getattr(found, name)
            }
        )
