"""motiontrace select: the clips to train on, by the motion of generated videos."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from motiontrace.commands import options
from motiontrace.commands import select_options as asked
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import given
from motiontrace.commands.progress import CLIPS, PASSES, QUERIES
from motiontrace.commands.query import Precondition
from motiontrace.commands.refusing import print_refused
from motiontrace.commands.selecting import (
    note_left_out,
    print_selection,
    print_written,
    selection_document,
    steps,
)
from motiontrace.commands.stopping import resumable
from motiontrace.curation.selection.forms import Format, Link

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.curation.selection.queries import LeftOut, StoredQuery, VideoQuery, Voter
    from motiontrace.curation.selection.run import Selection
    from motiontrace.curation.selection.settings import SelectionSettings
    from motiontrace.curation.selection.writing import Written
    from motiontrace.indexer.manifest import RefusedRow


_CHOOSING = (
    "index",
    "budget",
    "drop_worst",
    "at_least",
    "choose_by",
    "percentile",
    "down_weight",
    "ignore_labels",
    "keep_no_motion",
    "precondition",
    "damping",
)
"""Options that say how clips are chosen: what is repeated has been asked these already."""


def select(
    context: typer.Context,
    query: asked.Query = None,
    prompt: asked.Prompt = None,
    queries: asked.Queries = None,
    stored: asked.Stored = None,
    strict: options.Strict = False,
    index: options.AskedIndex = None,
    budget: asked.Budget = None,
    drop_worst: asked.DropWorst = None,
    at_least: asked.AtLeast = None,
    choose_by: asked.ChooseBy = asked.Rule.MATCHING,
    percentile: asked.Percentile = 90.0,
    down_weight: asked.DownWeight = 0.5,
    ignore_labels: asked.IgnoreLabels = False,
    keep_no_motion: asked.KeepNoMotion = False,
    precondition: asked.Preconditioned = Precondition.NONE,
    damping: asked.Damping = None,
    repeat: asked.Repeat = None,
    allow_changes: asked.AllowChanges = False,
    name: asked.Name = None,
    output: asked.Output = None,
    format: asked.As = Format.videofolder,
    link: asked.Linked = Link.auto,
    skip_unusable: asked.SkipUnusable = False,
    report: asked.Report = None,
    json: AsJson = False,
    device: options.Device = None,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Choose the training clips that taught the motion of generated videos.

    With --budget those whose gradients together point most nearly where the queries' do; with --drop-worst all but
    those that most queries have at the bottom of their ranking. A query without motion, or that cannot be
    read, is told and left out. The selection is stored: --repeat chooses the same clips again, without videos or model.
    """
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.curation.selection.candidates import check_floors
    from motiontrace.curation.selection.queries import index_asked
    from motiontrace.curation.selection.report import check_report, write_report
    from motiontrace.curation.selection.run import check_name, make_selection
    from motiontrace.curation.selection.writing import check_free

    console, errors = (Console(stderr=stderr, highlight=False, soft_wrap=True) for stderr in (False, True))
    wanted = _queries(query or [], prompt or [], queries or [], stored or [], strict, errors)
    settings = _settings(
        budget=budget,
        drop_worst=drop_worst,
        at_least=at_least or [],
        choose_by=choose_by.value,
        percentile=percentile,
        down_weight=down_weight,
        labels=not ignore_labels,
        no_motion=keep_no_motion,
        precondition=precondition.value,
        damping=damping,
    )
    if repeat is None:
        _check(settings, wanted, allow_changes)
    elif wanted or any(_on_command_line(context, name) for name in _CHOOSING):
        raise typer.BadParameter("it has its own queries and settings", param_hint="--repeat")
    elif name is not None and not allow_changes:
        raise typer.BadParameter("what is repeated has its name already", param_hint="--name")
    if output is not None:
        check_free(output, format)  # before hours of computing
    if report is not None:
        check_report(report)
    places = CatalogSettings(**given(home=home, database_url=database_url))
    with resumable("What was computed of the queries is kept."), closing(Database.open(places.url)) as database:
        check_name(database, name)
        if repeat is not None:
            selection = _repeated(database, places, repeat, name, allow_changes, errors)
        else:
            record = index_asked(database, index, wanted)
            with database.reading() as session:
                check_floors(session, record.id, settings.at_least)  # before videos are computed
            answers = _answers(database, places, record, wanted, device, errors)
            with steps(errors, "scoring", PASSES) as step:
                selection = make_selection(database, places, record, answers, settings, name=name, on_scored=step)
        document = selection_document(selection)
        if not json:
            print_selection(console, selection)
        rest = _rest(output=output, format=format, link=link, skip_unusable=skip_unusable, report=report, home=home)
        try:
            with resumable("The selection is stored.", f"motiontrace select --repeat {selection.id} {rest}".strip()):
                if output is not None:
                    written = _write(database, selection, output, errors, format, link, skip_unusable)
                    document |= {"output": str(written.output), "placed": written.placed, "written": written.clips}
                    print_written(console if not json else errors, written)
                if report is not None:
                    write_report(database, selection, report)
        except Exception as error:
            if not isinstance(error, typer.Exit):
                errors.print(f"The selection is stored: --repeat {selection.id} goes on from here.", markup=False)
            raise
    if json:
        print_document(document)


def _write(
    database: Database,
    selection: Selection,
    output: Path,
    errors: Console,
    format: Format,
    link: Link,
    skip_unusable: bool,
) -> Written:
    """Writes a selection, with progress: each clip is looked at, and written."""
    from motiontrace.curation.selection.writing import write_selection

    with steps(errors, "writing", CLIPS) as step:
        total, done = 2 * len(selection.outcome), 0

        def on_clip() -> None:
            nonlocal done
            done += 1
            step(-(-done // 2), total // 2)

        return write_selection(
            database, selection, output, format=format, link=link, skip_unusable=skip_unusable, on_clip=on_clip
        )


def _rest(**options: Path | str | bool | None) -> str:
    """Options as they are typed, without those that were not given."""
    words = []
    for name, value in options.items():
        if value not in (None, False):
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _queries(
    videos: list[Path], prompts: list[str], sources: list[Path], stored: list[str], strict: bool, errors: Console
) -> list[VideoQuery | StoredQuery]:
    from motiontrace.curation.selection.queries import StoredQuery, VideoQuery, read_queries

    if len(videos) != len(prompts):
        count = f"{len(videos)} --query and {len(prompts)} --prompt"
        raise typer.BadParameter(
            f"each --query has its --prompt, in the same order: there are {count}", param_hint="--prompt"
        )
    wanted: list[VideoQuery | StoredQuery] = [VideoQuery(*pair) for pair in zip(videos, prompts, strict=True)]
    for source in sources:
        refused: list[RefusedRow] = []
        found = read_queries(source, refused.append, strict=strict)
        print_refused(errors, source, len(found), refused)
        wanted += found
    return wanted + [StoredQuery(query_id) for query_id in stored]


def _settings(*, damping: float | None, precondition: str, **more: Any) -> SelectionSettings:
    from pydantic import ValidationError

    from motiontrace.curation.selection.settings import SelectionSettings

    if damping is not None and precondition != Precondition.WHITEN:
        raise typer.BadParameter("only --precondition whiten has one", param_hint="--damping")
    try:
        return SelectionSettings.model_validate({**more, **given(damping=damping), "precondition": precondition})
    except ValidationError as error:
        first = error.errors()[0]
        flags = {"no_motion": "--keep-no-motion", "labels": "--ignore-labels"}
        field = str(first["loc"][0]) if first["loc"] else "no_motion" if more["no_motion"] else "at_least"
        why = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(why, param_hint=flags.get(field, f"--{field.replace('_', '-')}")) from error


def _check(settings: SelectionSettings, wanted: list[Any], allow_changes: bool) -> None:
    if allow_changes:
        raise typer.BadParameter("it goes with --repeat", param_hint="--allow-changes")
    if not wanted:
        raise typer.BadParameter("name what votes: --query, --queries or --stored", param_hint="--query")
    if settings.budget is None and settings.drop_worst is None:
        why = "say how many clips to choose, or with --drop-worst how many to leave out"
        raise typer.BadParameter(why, param_hint="--budget")


def _on_command_line(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"  # by name: Typer may have a click of its own


def _answers(
    database: Database,
    places: CatalogSettings,
    index: IndexRecord,
    wanted: list[VideoQuery | StoredQuery],
    device: str | None,
    errors: Console,
) -> list[Voter | LeftOut]:
    """What each query says, with a bar for those that are computed."""
    from motiontrace.curation.selection.queries import LeftOut, QueryGradients

    answers: list[Voter | LeftOut] = []
    with steps(errors, "asking", QUERIES, len(wanted)) as step:
        loading = lambda: errors.print(f"loading the model {index.model}", markup=False)  # noqa: E731
        gradients = QueryGradients(database, places, index, device=device, on_loading=loading)
        for query in wanted:
            answers.append(gradients.of(query))
            step(len(answers), len(wanted), len(answers) - gradients.computed)
    for answer in answers:
        if isinstance(answer, LeftOut):
            note_left_out(errors, answer)
    return answers


def _repeated(
    database: Database, places: CatalogSettings, wanted: str, name: str | None, allow_changes: bool, errors: Console
) -> Selection:
    """An earlier selection again; where the index has changed and that is allowed, a new one by the same."""
    from motiontrace.catalog.repositories import SelectionRepository
    from motiontrace.curation.selection.errors import ChangedError, SelectionError
    from motiontrace.curation.selection.run import (
        index_of,
        make_selection,
        repeat_selection,
        settings_of,
        voters_of_record,
    )

    with database.reading() as session:
        record = SelectionRepository(session).find(wanted)
    if record is None:
        raise SelectionError(f"there is no selection {wanted!r}: motiontrace selections lists them")
    with steps(errors, "scoring", PASSES) as step:
        try:
            return repeat_selection(database, places, record, on_scored=step)
        except ChangedError as error:
            if not allow_changes:
                raise
            errors.print(f"note: {error}", markup=False)
        return make_selection(
            database,
            places,
            index_of(database, record),
            voters_of_record(record),
            settings_of(record),
            name=name,
            on_scored=step,
        )
