"""motiontrace labels: clips to reviewers and their labels back, through a service."""

from __future__ import annotations

import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import given
from motiontrace.formats.registry import FOLDERS, FORMATS, TABLES

if TYPE_CHECKING:
    from motiontrace.documents.label_studio import PulledProject, PushedProject

app = typer.Typer(help="Have people review clips in a labelling tool, by a service.", no_args_is_help=True)

Url = Annotated[str, typer.Option(envvar="MOTIONTRACE_URL", help="The service.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="MOTIONTRACE_API_KEY",
        help="Key for the service; better in the variable: a list of processes shows flags.",
        show_default=False,
    ),
]
SERVICE = "http://127.0.0.1:8600"
GONE = "label_studio_project_not_found"  # the problem of a project that was deleted there


class Motion(StrEnum):
    """What the motion of the queries' videos is."""

    good = "good"
    bad = "bad"


if TYPE_CHECKING:
    Format = str
else:  # the names of the registry
    Format = StrEnum("Format", [(name, name) for name in (*FOLDERS, *TABLES)])


class End(StrEnum):
    """The ends of a ranking."""

    top = "top"
    bottom = "bottom"
    both = "both"


@app.command("push")
def push(
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...", help="Ids of queries that are done.")],
    top: Annotated[int, typer.Option(min=0, max=500, help="Clips of each query's highest scores.")] = 10,
    bottom: Annotated[int, typer.Option(min=0, max=500, help="Clips of its lowest scores.")] = 10,
    title: Annotated[
        str, typer.Option(help="Title of the project: one that was pushed to before, or a new one.")
    ] = "motiontrace review",
    project: Annotated[
        int | None, typer.Option(help="Label Studio's number of a project to push to instead.", show_default=False)
    ] = None,
    verdict: Annotated[
        list[str] | None,
        typer.Option(
            help="What reviewers can call a clip, in a new project. May be repeated.",
            show_default="realistic, unrealistic, cartoon, static",
        ),
    ] = None,
    motion: Annotated[
        Motion | None,
        typer.Option(help="Whether the queries' videos move well: decides the verdicts that are suggested."),
    ] = None,
    url: Url = SERVICE,
    api_key: ApiKey = None,
    json: AsJson = False,
) -> None:
    """Make clips of both ends of the rankings of queries tasks of a project of Label Studio.

    The service knows its address. Repeated, no task is made twice.
    """
    from motiontrace.client import Client
    from motiontrace.documents.label_studio import VERDICTS

    with Client(url, api_key=api_key) as service:
        pushed = service.push_to_label_studio(
            queries,
            top=top,
            bottom=bottom,
            title=title,
            project=project,
            verdicts=verdict or VERDICTS,
            motion=None if motion is None else motion.value,
        )
    if json:
        print_document(pushed)
    else:
        show_pushed(pushed)


@app.command("pull")
def pull(
    project: Annotated[
        int | None,
        typer.Option(help="Label Studio's number of the project.", show_default="all that were pushed to"),
    ] = None,
    url: Url = SERVICE,
    api_key: ApiKey = None,
    json: AsJson = False,
) -> None:
    """Take over as labels what reviewers have said in Label Studio, also where it could not tell the service.

    Harmless at any time: what was taken over before is not again.
    """
    from motiontrace.client import Client, ServiceError

    with Client(url, api_key=api_key) as service:
        titles = {each.id: each.title for each in service.label_studio_projects()}
        pulled: dict[int, PulledProject] = {}
        for number in titles if project is None else [project]:
            try:
                pulled[number] = service.pull_from_label_studio(number)
            except ServiceError as error:
                if project is not None or error.problem is None or error.problem.code != GONE:
                    raise
                typer.echo(f"note: {titles[number]!r}: {error.problem.detail}", err=True)  # and it is forgotten now
    if json:
        print_document([{"id": number, **each.model_dump(mode="json")} for number, each in pulled.items()])
        return
    if not pulled:
        typer.echo("No project was pushed to so far: motiontrace labels push", err=True)
    for number, each in pulled.items():
        show_pulled(f"{titles[number]!r}" if number in titles else f"project {number}", each)


@app.command("export")
def export(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Id of a query that is done.")],
    format: Annotated[
        Format, typer.Option(help="; ".join(f"{name}: {FORMATS[name].title}" for name in (*FOLDERS, *TABLES)) + ".")
    ],
    output: Annotated[Path, typer.Option(help="The folder to make, which is not there or empty; the table's file.")],
    end: Annotated[End, typer.Option(help="Of which end of the ranking.")] = End.both,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Clips of an end at most.", show_default="100 for a tool, all for a table"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="MOTIONTRACE_URL", help="The service.", show_default="the catalog under --home, directly"),
    ] = None,
    api_key: ApiKey = None,
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Write a query's ranking with all that was said of its clips: for FiftyOne, for CVAT, or as a table.

    What is there already is never overwritten.
    A tool's folder has the clips' videos, and a README.txt that says how the tool loads it.
    """
    from motiontrace.client import Client, unpack
    from motiontrace.client.unpacking import check_free, check_new, put_in_place

    asked: dict[str, Any] = {"format": format, "end": end.value, "limit": limit}
    is_table = not FORMATS[format].is_folder
    (check_new if is_table else check_free)(output)  # before gigabytes are fetched
    place = output.absolute()
    fetched = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        if url is None:
            _export_directly(given(home=home, database_url=database_url), query, fetched, asked)
        else:
            with Client(url, api_key=api_key) as service:
                service.export(query, fetched, **asked)
        (put_in_place if is_table else unpack)(fetched, place)
    finally:
        fetched.unlink(missing_ok=True)
    left_out = [] if is_table else _left_out(output)
    if json:
        print_document({"output": str(output), "format": format, "left_out": left_out})
        return
    console, errors = (Console(stderr=stderr, highlight=False, soft_wrap=True) for stderr in (False, True))
    if not is_table:
        console.print(f"{output}: see {output / 'README.txt'}", markup=False)
    for each in left_out:
        errors.print(f"left out: {each['clip']}: {each['reason']}", markup=False)


def _export_directly(settings: dict[str, Any], query: str, path: Path, asked: dict[str, Any]) -> None:
    from motiontrace.answering.export import export_ranking
    from motiontrace.answering.settings import AnsweringSettings

    export_ranking(AnsweringSettings(**settings), query, path, **asked)


def _left_out(folder: Path) -> list[dict[str, str]]:
    """The clips that a tool's folder has no video of, and why."""
    listed = folder / "left-out.txt"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    return [dict(zip(("clip", "reason"), line.split("\t", 1), strict=True)) for line in lines]


def show_pushed(pushed: PushedProject) -> None:
    """Prints what a push came to, and what people have to know of it beside that."""
    console, errors = (Console(stderr=stderr, highlight=False, soft_wrap=True) for stderr in (False, True))
    renewed = f", {pushed.links_renewed:,} links to videos renewed" if pushed.links_renewed else ""
    console.print(
        f"{pushed.clips:,} clips in the project {pushed.title!r}: {pushed.tasks_created:,} new, "
        f"{pushed.tasks_there:,} were there{renewed}",
        markup=False,
    )
    console.print(pushed.url, markup=False)
    for clip in pushed.left_out:
        errors.print(f"left out: {clip.clip}: {clip.reason}", markup=False)
    if pushed.callback.reason is not None:
        errors.print(f"note: {pushed.callback.reason}", markup=False)


def show_pulled(name: str, pulled: PulledProject) -> None:
    """Prints what a pull came to."""
    unknown = f", {pulled.unknown:,} of no clip that is known" if pulled.unknown else ""
    typer.echo(
        f"{name}: {pulled.tasks:,} tasks: {pulled.labelled:,} labelled, {pulled.changed:,} changed, "
        f"{pulled.withdrawn:,} withdrawn, {pulled.unchanged:,} as they were{unknown}"
    )
    for task in pulled.left_out:
        typer.echo(f"left out of task {task.task} ({task.clip}): {task.left_out}", err=True)
