"""The options of motiontrace select."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from motiontrace.commands.flags import flag, option
from motiontrace.commands.query import Precondition
from motiontrace.curation.selection.forms import Format, Link
from motiontrace.curation.selection.settings import SelectionSettings


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
Budget = Annotated[str | None, flag(SelectionSettings, "budget", metavar="AMOUNT")]
DropWorst = Annotated[str | None, flag(SelectionSettings, "drop_worst", metavar="AMOUNT")]
AtLeast = Annotated[list[str] | None, flag(SelectionSettings, "at_least", metavar="COLUMN=AMOUNT")]
ChooseBy = Annotated[Rule, flag(SelectionSettings, "choose_by")]
Percentile = Annotated[float, flag(SelectionSettings, "percentile", min=50, max=99.999)]
DownWeight = Annotated[float, flag(SelectionSettings, "down_weight", min=0.001, max=1)]
IgnoreLabels = Annotated[
    bool, option("ignore_labels", "Choose as if reviewers had decided nothing.", show_default="no")
]
KeepNoMotion = Annotated[bool, flag(SelectionSettings, "no_motion", named="keep_no_motion")]
Preconditioned = Annotated[Precondition, flag(SelectionSettings, "precondition")]
Damping = Annotated[float | None, flag(SelectionSettings, "damping", min=1e-3, max=1e6)]
Name = Annotated[str | None, typer.Option(help="Your own name for the selection, by which it is repeated.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="The folder to write, or with --format parquet the file; not there yet.",
        show_default="the selection is only stored",
    ),
]
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
    option(
        "link",
        "How videos get into the folder: auto (hard links, else symbolic), hardlink, symlink, copy or none.",
    ),
]
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
    typer.Option(
        "--allow-changes",
        help="With --repeat, where the index has changed: choose from it as it is now, as a new selection.",
    ),
]
