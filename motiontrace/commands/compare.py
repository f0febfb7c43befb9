"""motiontrace compare: videos of two models side by side, and their motion measured."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from motiontrace.catalog.installing import NotInstalledError, how_to_install
from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import given
from motiontrace.commands.progress import VIDEOS, Progress
from motiontrace.commands.stopping import resumable

if TYPE_CHECKING:
    from motiontrace.curation.comparison.outcome import Comparison


def compare(
    base: Annotated[str, typer.Argument(help="diffusers checkpoint folder, or Hugging Face model id.")],
    tuned: Annotated[
        str, typer.Argument(help="What motiontrace finetune wrote: a LoRA for BASE, or a whole checkpoint; or another.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the videos, the page, the picture and the figures.")],
    prompts: Annotated[
        Path | None, typer.Option(help="A prompt a line; or .jsonl with prompt and, if known, gravity.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of each prompt's videos, such as 0,1,2 or 0-9.")] = "0,1,2",
    gravity: Annotated[
        float | None,
        typer.Option(
            help="What a thing should fall by in these videos, picture heights / s^2.", min=1e-6, show_default="unknown"
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second that the videos stand for.", min=0.1, max=1000, show_default="the family's"),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a video.", min=2, show_default="the base's")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels.", min=16, show_default="the base's")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels.", min=16, show_default="the base's")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the sampler.", min=1, show_default="the pipeline's")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance.", min=0.0, show_default="the pipeline's")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Videos generated at once.", min=1, show_default="by their size")
    ] = None,
    device: options.Device = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16.", show_default="bfloat16 on a GPU, else float32"),
    ] = None,
    json: AsJson = False,
) -> None:
    """Generate the same prompts and seeds with BASE and TUNED and measure how each moves.

    Leaves comparison.html (both side by side, playing together), comparison.png and comparison.json in --output. Kill
    it whenever you like: videos that are there are not generated again.
    """
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise typer.BadParameter("float32, bfloat16 or float16", param_hint="--dtype")
    for name, value in (("--gravity", gravity), ("--fps", fps), ("--guidance", guidance)):
        if value is not None and not math.isfinite(value):
            raise typer.BadParameter(f"{value} is no number to go by", param_hint=name)
    numbers = _seeds(seeds)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    if find_spec("matplotlib") is None:
        raise NotInstalledError(f"comparison.png is drawn by matplotlib: {how_to_install('matplotlib')}")

    from motiontrace.attribution.families import find_checkpoint
    from motiontrace.curation.comparison.prompts import read_prompts

    # Before torch is loaded, which takes seconds.
    asked = read_prompts(prompts, prompt or [], gravity)
    for model in (base, *([] if Path(tuned).expanduser().is_dir() else [tuned])):
        find_checkpoint(model)
    from motiontrace.curation.comparison.compare import compare as run
    from motiontrace.curation.comparison.page import write_page
    from motiontrace.curation.comparison.picture import write_picture

    chosen: dict[str, float | None] = given(
        fps=fps, frames=frames, height=height, width=width, steps=steps, guidance=guidance
    )
    with resumable(f"Videos that were generated are kept in {output}."), _Heard(errors) as heard:
        comparison = run(
            base, tuned, asked, numbers, output, heard, chosen=chosen, batch=batch, device=device, dtype=dtype
        )
    page, picture = write_page(comparison), write_picture(comparison)
    if json:
        figures = loads((output / "comparison.json").read_text(encoding="utf-8"))
        print_document({**figures, "page": str(page), "picture": str(picture)})
        return
    console = Console(highlight=False, soft_wrap=True)
    _print(console, comparison)
    console.print(f"side by side: {page}\npicture: {picture}", markup=False)


def _seeds(text: str) -> list[int]:
    """`0,1,2`, `0-9`, or both."""
    seeds: list[int] = []
    for piece in re.split(r"[,\s]+", text.strip()):
        if (found := re.fullmatch(r"(\d+)(?:-(\d+))?", piece)) is None or len(piece) > 18:
            raise typer.BadParameter(f"{piece!r} is no seed: give 0,1,2 or 0-9", param_hint="--seeds")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 0 <= last - first < 10_000:
            raise typer.BadParameter(f"{piece}: from the smaller to the larger, 10,000 at most", param_hint="--seeds")
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


class _Heard(Progress):
    """See `motiontrace.curation.comparison.compare.Listener`."""

    def generating(self, label: str, missing: int, total: int) -> None:
        """A model generates what is missing of its videos."""
        if missing < total:
            self.say(f"{label}: {total - missing:,} of {total:,} videos are there already")
        if missing:
            self.begin(f"generating {label}", missing, VIDEOS)

    def stepped(self, videos: float) -> None:
        """So much of a video, or of several, has been generated."""
        self.step(videos)

    def measuring(self, total: int) -> None:
        """All videos are there."""
        self.begin("measuring", total, VIDEOS)

    def measured(self) -> None:
        """Another one is measured."""
        self.step()


def _print(console: Console, comparison: Comparison) -> None:
    from motiontrace.curation.comparison.measures import MEASURES
    from motiontrace.curation.comparison.verdicts import interval, remarks, verdict, videos

    table = Table(box=None, pad_edge=False)
    table.add_column("mean over all pairs", min_width=19)
    for name in ("base", "tuned", "difference", "95 % interval", "videos", "pairs", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for measure in MEASURES:
        total = comparison.totals[measure.name]
        if not total.base_videos and not total.tuned_videos:
            continue
        table.add_row(
            measure.title,
            _number(total.base),
            _number(total.tuned),
            _number(total.difference, "+"),
            interval(total),
            videos(total),
            str(total.pairs),
            verdict(comparison, measure) or "",
        )
    console.print(table)
    for remark in remarks(comparison):
        console.print(remark, markup=False)


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
