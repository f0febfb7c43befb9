"""The options of motiontrace select."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from motiontrace.commands.query import Precondition
from motiontrace.curation.selection.forms import Format, Link


def _setting(name: str, text: str, **more: Any) -> Any:
    return typer.Option(envvar=f"MOTIONTRACE_{name.upper()}", help=text, **more)


class Rule(StrEnum):
    """How a budget is filled."""

    MATCHING = "matching"
    VOTES = "votes"


Query = Annotated[
    list[Path] | None,
    typer.Option(metavar="VIDEO", help="A generated video that votes; with --prompt. May be repeated."),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="The prompt of the --query at the same place in the command."),
]
Queries = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Generated videos with their prompts: a manifest, or a folder with metadata.jsonl or metadata.csv, or one"
        " with a .txt file beside each video. May be repeated.",
    ),
]
Stored = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID",
        help="A query that a service has answered, or motiontrace query --keep; no model is needed. May be repeated.",
    ),
]
Budget = Annotated[
    str | None,
    _setting("budget", "How many clips to choose: a number, or a share of those that move, as 10%.",
             metavar="AMOUNT", show_default="all that are not dropped"),
]  # fmt: skip
DropWorst = Annotated[
    str | None,
    _setting("drop_worst", "Leave out so many clips that most queries have at the bottom of their ranking: the least"
             " related, and those that fight the motion.",
             metavar="AMOUNT", show_default="none"),
]  # fmt: skip
AtLeast = Annotated[
    list[str] | None,
    _setting("at_least", "Of each value of a metadata column at least so many of the chosen clips, or so large a share:"
             " scene=5%; of one value: scene:night=200. May be repeated.", metavar="COLUMN=AMOUNT"),
]  # fmt: skip
ChooseBy = Annotated[
    Rule,
    _setting("choose_by", "How --budget is filled: by the clips whose gradients together point most nearly where the"
             " queries' do, or one by one by those with most votes."),
]  # fmt: skip
Percentile = Annotated[
    float,
    _setting(
        "percentile",
        "A query votes for the clips above this percentile of its scores: for ranks,"
        " --drop-worst and --choose-by votes.",
        min=50,
        max=99.999,
    ),
]
DownWeight = Annotated[
    float,
    _setting("down_weight", "Weight of clips that reviewers weigh down: of votes, in a set and in training.", min=0.001,
             max=1),
]  # fmt: skip
IgnoreLabels = Annotated[
    bool, _setting("ignore_labels", "Choose as if reviewers had decided nothing.", show_default="no")
]  # fmt: skip
KeepNoMotion = Annotated[
    bool,
    _setting("keep_no_motion", "Without --budget: keep clips in which nothing moves, too.", show_default="no"),
]
Preconditioned = Annotated[
    Precondition,
    _setting("precondition", "See queries against what all clips of the index share, as motiontrace query does."),
]
Damping = Annotated[
    float | None,
    _setting("damping", "With whiten: how much is left as it is, as a multiple of the mean eigenvalue.", min=1e-3,
             max=1e6, show_default="0.1"),
]  # fmt: skip
Name = Annotated[str | None, typer.Option(help="Your own name for the selection, by which it is repeated.")]
Output = Annotated[
    Path | None,
    typer.Option(help="The folder to write, or with --format parquet the file; not there yet.",
                 show_default="the selection is only stored"),
]  # fmt: skip
As = Annotated[
    Format,
    typer.Option(
        "--format",
        help="videofolder: metadata.jsonl, for HF datasets and finetrainers; lists: videos.txt and prompts.txt,"
        " for diffusers' scripts; diffsynth: metadata.csv for DiffSynth-Studio; captions: a .txt beside each video;"
        " parquet: one table.",
    ),
]
Linked = Annotated[
    Link,
    _setting("link", "How the folder gets its videos; auto: hard links, where the file system has none symbolic ones;"
             " none: the table names them where they lie."),
]  # fmt: skip
SkipUnusable = Annotated[
    bool, typer.Option("--skip-unusable", help="Leave out chosen clips whose file is gone or has changed.")
]
Report = Annotated[
    Path | None,
    typer.Option(help="Also write a table of all clips, why each was or was not chosen: .parquet, .csv or .jsonl."),
]
Repeat = Annotated[
    str | None,
    typer.Option(metavar="SELECTION", help="Choose the clips of an earlier selection again, by its id or name."),
]
AllowChanges = Annotated[
    bool,
    typer.Option("--allow-changes", help="With --repeat, where the index has changed: choose from it as it is now, as"
                 " a new selection."),
]  # fmt: skip
