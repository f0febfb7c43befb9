"""motiontrace query: which clips taught the motion of a video, or move like a clip?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.hits import print_hits
from motiontrace.commands.options import given

if TYPE_CHECKING:
    from motiontrace.documents.filters import Filter
    from motiontrace.documents.queries import Query
    from motiontrace.documents.questions import ClipQuestion, VideoQuestion


class Precondition(StrEnum):
    """How a query is seen against what all clips of the index share."""

    NONE = "none"
    CENTRE = "centre"
    WHITEN = "whiten"


def query(
    video: Annotated[
        Path | None, typer.Argument(help="The generated video; leave it out with --clip.", exists=True, dir_okay=False)
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="The prompt that it was generated from.")] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="ID", help="Instead of a video: which clips move like this one?")
    ] = None,
    index: options.AskedIndex = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Clips from each end of the list.")] = 10,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN:VALUE",
            help="Rank only clips with this value in this column of the manifest. May be repeated: of one column any "
            "value will do, all columns must hold. A column or value that no clip has is told.",
        ),
    ] = None,
    verdict: Annotated[
        list[str] | None, typer.Option(help="Rank only clips that reviewers gave this verdict. May be repeated.")
    ] = None,
    without_verdict: Annotated[list[str] | None, typer.Option(help="Leave out clips of this verdict.")] = None,
    decision: Annotated[
        list[str] | None,
        typer.Option(help="Rank only clips of this decision: keep, down_weight or drop. May be repeated."),
    ] = None,
    without_decision: Annotated[list[str] | None, typer.Option(help="Leave out clips of this decision.")] = None,
    precondition: Annotated[
        Precondition,
        typer.Option(help="Take off the index's mean (centre), or count rare directions more (whiten)."),
    ] = Precondition.NONE,
    damping: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            max=1e6,
            help="With whiten: how much is left as it is, times the mean eigenvalue.",
            show_default="0.1",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="MOTIONTRACE_URL", help="Ask this service.", show_default="the index under --home, directly"
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="MOTIONTRACE_API_KEY",
            help="Key for the service; better in the variable: a list of processes shows flags.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Keep the answer, so that labels, select and queries know it by its id; a service keeps every one.",
        ),
    ] = False,
    json: AsJson = False,
    device: options.Device = None,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Rank the training clips by their influence on the motion of VIDEO: what taught it, and what fights it.

    A clip teaches or fights it only where its score stands out (*) from what chance explains; others are merely the
    most, or the least, related.
    """
    passing = _filter(
        metadata or [],
        verdict=verdict,
        without_verdict=without_verdict,
        decision=decision,
        without_decision=without_decision,
    )
    if damping is not None and precondition is not Precondition.WHITEN:
        raise typer.BadParameter("only --precondition whiten has one", param_hint="--damping")
    question = _question(
        video, prompt, clip, k=k, index=index, filter=passing, precondition=precondition.value, damping=damping
    )
    errors = Console(stderr=True)
    with _progress(errors) as show:
        if url is not None:
            answer = _ask_service(url, api_key, question, show)
        else:
            answer = _ask_index(given(device=device, home=home, database_url=database_url), question, keep, show)
    answer = in_own_words(answer)
    if json:
        print_document(answer)
    else:
        show_answer(Console(), answer)
        if keep or url is not None:
            typer.echo(f"query {answer.id}")  # by which labels, select and queries know it
    if answer.status != "done":
        if not json:
            reason = "The query was cancelled." if answer.error is None else answer.error.message
            errors.print(f"error: {reason}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def _question(video: Path | None, prompt: str | None, clip: str | None, **more: Any) -> VideoQuestion | ClipQuestion:
    from motiontrace.documents.questions import ClipQuestion, VideoQuestion

    if (video is None) == (clip is None):
        raise typer.BadParameter("name a video or a clip, one of them", param_hint="VIDEO or --clip")
    if clip is not None and prompt is None:
        return ClipQuestion(clip, **more)
    if video is not None and prompt is not None:
        return VideoQuestion(video, prompt, **more)
    raise typer.BadParameter("a video needs it, and a clip has none", param_hint="--prompt")


def _ask_service(
    url: str, api_key: str | None, question: VideoQuestion | ClipQuestion, show: Callable[[str], None]
) -> Query:
    from motiontrace.client import Client
    from motiontrace.documents.questions import VideoQuestion

    asked: dict[str, Any] = {
        "k": question.k,
        "index": question.index,
        "filter": question.filter,
        "precondition": question.precondition,
        "damping": question.damping,
    }
    with Client(url, api_key=api_key) as service:
        if isinstance(question, VideoQuestion):
            return service.ask(question.video, question.prompt, **asked, on_event=lambda query: show(state_of(query)))
        return service.more_like(question.clip, **asked)


def _ask_index(
    settings: dict[str, Any], question: VideoQuestion | ClipQuestion, keep: bool, show: Callable[[str], None]
) -> Query:
    from motiontrace.answering.ask import ask
    from motiontrace.answering.settings import AnsweringSettings

    return ask(AnsweringSettings(**settings), question, keep=keep, on_stage=show)


def state_of(query: Query) -> str:
    """What a query is at, in a few words."""
    if query.place is not None:
        return f"queued, number {query.place:,} in line"
    return query.stage or query.status


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """A line that shows what is being done, gone at the end; nothing where nobody looks."""
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("asking") as status:
        yield lambda text: status.update(text)


def _filter(metadata: list[str], **conditions: Any) -> Filter | None:
    from pydantic import ValidationError

    from motiontrace.documents.filters import Filter, split_column

    columns: dict[str, list[str]] = {}
    try:
        for condition in metadata:
            column, value = split_column(condition)
            columns.setdefault(column, []).append(value)
        found = Filter.model_validate({"metadata": columns, **given(**conditions)})
    except ValidationError:
        raise  # the command tells it field by field
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--metadata") from error
    return None if found.is_empty else found


def show_answer(console: Console, answer: Query) -> None:
    """Prints both ends of the ranking as people read them."""
    if answer.message:
        console.print(answer.message, markup=False, highlight=False)
    if answer.top:
        top, bottom = headings(answer)
        console.print(top, style="bold", highlight=False, markup=False)
        print_hits(console, answer.top)
        console.print(bottom, style="bold", markup=False)
        print_hits(console, answer.bottom)
    for line in (*_chance(answer), answer.hint):
        if line:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if answer.statistics is not None:
        how = "centred" if answer.precondition == "centre" else f"whitened (damping {answer.damping:g})"
        by = f"statistics {answer.statistics.digest[:12]} of {answer.statistics.vectors:,} clips"
        console.print(f"{how} by {by}", highlight=False, soft_wrap=True)
    stages = ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in answer.timings.items())
    console.print(f"recipe {(answer.recipe_digest or '')[:12]}; {stages}", highlight=False, soft_wrap=True)


def headings(answer: Query) -> tuple[str, str]:
    """What the clips at either end of the ranking are to the motion, as far as they stand out from chance."""
    if answer.clip is None:
        teaches, fights, most, least = "taught this motion", "fights this motion", "most related", "least related"
    else:
        teaches, fights = f"moves like {answer.clip}", f"moves against {answer.clip}"
        most, least = f"most like {answer.clip}", "moves least like it"
    known = answer.chance is not None and answer.chance.high is not None
    explained = f"{most}, within chance" if known else most
    top = _heading([hit.stands_out == "teaches" for hit in answer.top], teaches, most) or explained
    bottom = _heading([hit.stands_out == "fights" for hit in answer.bottom], fights, least) or least
    return f"{top} (of {answer.ranked:,} clips in {answer.index})", bottom


def _heading(stand_out: list[bool], does: str, is_: str) -> str | None:
    """What is over clips of which all, some or none (None) do something by more than chance explains."""
    if all(stand_out):
        return does
    return f"{is_}; *: {does}" if any(stand_out) else None


def _chance(answer: Query) -> Iterator[str]:
    """What the marks of the tables mean, and where chance lies."""
    chance = answer.chance
    if chance is None or not answer.top:
        return
    if chance.low is None or chance.high is None:
        yield f"{chance.clips:,} clips are too few to tell what stands out from chance."
        return
    marked = f"* stands out: clips unrelated to it score {chance.low:+.3f} to {chance.high:+.3f} by chance"
    yield f"{marked}; of {chance.clips:,} clips {chance.teaches:,} are above and {chance.fights:,} below"


def in_own_words(answer: Query) -> Query:
    """The answer with its hint in the words of the command line, where the document has those of HTTP."""
    from motiontrace.documents.chance import remark

    said = remark(answer.chance, answer.precondition)
    hint = None if said is None else f"{said} Ask with --precondition centre to see how they differ."
    return answer.model_copy(update={"hint": hint})
