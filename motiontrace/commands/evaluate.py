"""motiontrace evaluate: does influence predict training, and better than cheaper ways to choose clips?"""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from motiontrace.catalog.installing import NotInstalledError, how_to_install
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.flags import flag
from motiontrace.commands.options import Device, Model, Strict, given
from motiontrace.commands.progress import CLIPS, FINE_TUNES, Progress
from motiontrace.commands.refusing import print_refused
from motiontrace.commands.stopping import resumable
from motiontrace.curation.evaluation.settings import SIZES, EvaluationSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motiontrace.curation.evaluation.evaluate import Evaluation
    from motiontrace.indexer.manifest import ManifestRow

_WIDTH = 160  # of tables that are not printed on a terminal
_SAMPLES = ("dynamic_degree", "smoothness", "gravity_error")  # columns of the counterfactual's table


def evaluate(
    manifest: Annotated[
        Path, typer.Argument(help="Training clips: a CSV, JSONL or Parquet file, or a folder with metadata.jsonl.")
    ],
    held_out: Annotated[Path, typer.Argument(help="Clips like them that the model is not trained on here.")],
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder of evaluation.json, evaluation.png and the work so far.")],
    motion: Annotated[
        str, typer.Option(envvar="MOTIONTRACE_EVALUATE_MOTION", help="Column that names a clip's motion.")
    ] = "motion",
    look: Annotated[list[str] | None, typer.Option(help="Column that says how a clip looks; may be repeated.")] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            help="Motion that subsets are drawn within; may be repeated.",
            show_default="the two with most clips; one for --size small",
        ),
    ] = None,
    gravity: Annotated[
        list[str] | None,
        typer.Option(help="MOTION=G: what falls in it falls by, picture heights / s^2; may be repeated."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames a second that generated videos stand for.",
            min=0.1,
            max=1000,
            show_default="the checkpoint's motiontrace.json, else the family's",
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(envvar="MOTIONTRACE_EVALUATE_SIZE", help="small: minutes, wide intervals; full: hours.")
    ] = "full",
    datamodelling: Annotated[bool, flag(EvaluationSettings, "datamodelling", "evaluate_datamodelling")] = True,
    counterfactual: Annotated[bool, flag(EvaluationSettings, "counterfactual", "evaluate_counterfactual")] = True,
    samples: Annotated[
        int | None,
        flag(
            EvaluationSettings,
            "samples",
            "evaluate_samples",
            min=0,
            max=1000,
            show_default="4 for --size full, 1 for small",
        ),
    ] = None,
    variants: Annotated[
        bool | None, flag(EvaluationSettings, "variants", "evaluate_variants", show_default="for --size full")
    ] = None,
    strict: Strict = False,
    device: Device = None,
    json: AsJson = False,
) -> None:
    """Train on subsets of the clips and see which method predicted what came of it.

    Kill it whenever you like: the same command goes on where it was stopped.
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    if any(find_spec(name) is None for name in ("scipy", "matplotlib")):
        raise NotInstalledError(f"evaluate needs scipy and matplotlib: {how_to_install('scipy', 'matplotlib')}")

    from motiontrace.attribution.families import find_checkpoint

    if size not in SIZES:
        raise typer.BadParameter(f"{size!r} is none of {', '.join(sorted(SIZES, reverse=True))}", param_hint="--size")
    if fps is not None and not math.isfinite(fps):
        raise typer.BadParameter(f"{fps} is no number of frames a second", param_hint="--fps")
    gravities = _gravities(gravity or [])
    train, asking = (_rows(each, [motion, *(look or [])], strict, errors) for each in (manifest, held_out))
    find_checkpoint(model)  # before torch is loaded, which takes seconds
    from motiontrace.catalog.durable_files import write_atomically
    from motiontrace.curation.evaluation.evaluate import Corpus
    from motiontrace.curation.evaluation.evaluate import evaluate as run
    from motiontrace.curation.evaluation.picture import draw
    from motiontrace.curation.evaluation.report import document

    corpus = Corpus(train, asking, motion, look or [], within or [], gravities, fps)
    chosen = given(datamodelling=datamodelling, counterfactual=counterfactual, samples=samples, variants=variants)
    settings = SIZES[size].model_copy(update=chosen)
    with resumable(f"Gradients and fine-tunes that were done are kept in {output}."), Progress(errors) as progress:
        evaluation = run(model, corpus, settings, output, _Heard(progress), device)
    for problem in evaluation.problems:
        errors.print(problem, markup=False)
    figures = document(evaluation, settings)
    written = dumps(figures, indent=1, allow_nan=False)
    write_atomically(output / "evaluation.json", [written.encode(), b"\n"])
    (output / "evaluation.png").unlink(missing_ok=True)  # of an earlier run, perhaps
    if evaluation.scores:
        draw(evaluation, output / "evaluation.png")
    if json:
        print_document(figures)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else max(Console().width, _WIDTH))
    for table in tables(evaluation):
        console.print(table)
    if (agreed := evaluation.agreement) is not None:
        console.print(
            f"over {agreed.sets} tenths of the clips, rank correlation with what came of the summed scores"
            f" {agreed.summed:.2f}, of the set's gradient {agreed.together:.2f}",
            soft_wrap=True,
        )
    console.print(f"figures: {output / 'evaluation.json'}", markup=False, soft_wrap=True)
    if evaluation.scores:
        console.print(f"picture: {output / 'evaluation.png'}", markup=False, soft_wrap=True)


def _rows(manifest: Path, columns: list[str], strict: bool, errors: Console) -> list[ManifestRow]:
    from motiontrace.curation.evaluation.clips import read_rows
    from motiontrace.indexer.manifest import RefusedRow

    refused: list[RefusedRow] = []
    rows = read_rows(manifest, columns, refused.append, strict=strict)
    print_refused(errors, manifest, len(rows), refused)
    return rows


def tables(evaluation: Evaluation) -> list[Table]:
    """What is printed: scores by kind of subset, matches of the first clips, and the counterfactual."""
    found = [_scores(evaluation)] if evaluation.scores else []
    found.append(_retrieval(evaluation))
    return [*found, _counterfactual(evaluation)] if evaluation.results else found


def _scores(evaluation: Evaluation) -> Table:
    scores = Table(title=f"LDS over {evaluation.clips} clips, {evaluation.queries} held-out ones asking")
    scores.add_column("method")
    for kind in evaluation.scores:
        known = f"ceiling {evaluation.ceilings[kind]:.2f}, chance ±{evaluation.chances[kind]:.2f}"
        scores.add_column(f"{kind}\n({known})", justify="right")
        scores.add_column("default ahead by", justify="right")
    first = next(iter(evaluation.scores.values()))
    for name in first:
        cells = []
        for of_kind in evaluation.scores.values():
            score, lead = of_kind[name].score, of_kind[name].lead
            cells += [
                f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]",
                "" if lead is None else f"{lead.value:+.2f} [{lead.low:+.2f}, {lead.high:+.2f}]",
            ]
        scores.add_row(name, *cells)
    return scores


def _retrieval(evaluation: Evaluation) -> Table:
    fields = list(next(iter(evaluation.retrieval.values())))
    chance = next(iter(evaluation.retrieval.values()))
    retrieval = Table(title="the first 10 clips share with the query ...")
    retrieval.add_column("method")
    for field in fields:
        retrieval.add_column(f"{field}\n(chance {chance[field].chance:.2f})", justify="right")
    for name, found in evaluation.retrieval.items():
        retrieval.add_row(name, *(f"{found[field].share:.2f}" for field in fields))
    return retrieval


def _counterfactual(evaluation: Evaluation) -> Table:
    from motiontrace.curation.evaluation.report import rows

    counterfactual = Table(title="fine-tuned on ... (means over motions)")
    counterfactual.add_column("selection")
    found = rows(evaluation.results)
    samples = [name for name in _SAMPLES if any(name in row.samples for row in found)]
    for column in ("held-out motion loss", "default better on", *(name.replace("_", " ") for name in samples)):
        counterfactual.add_column(column, justify="right")
    for row in found:
        spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
        counterfactual.add_row(
            row.method,
            f"{0.0 - 100 * row.fall:+.2f}{spread} %",
            "" if row.won is None else f"{row.won} of {row.motions}",
            *(_measure(name, row.samples, row.samples_spread) for name in samples),
        )
    if evaluation.real:
        real = (_measure(name, evaluation.real, {}) for name in samples)
        counterfactual.add_row("(the measured clips themselves)", "", "", *real)
    return counterfactual


def _measure(name: str, means: Mapping[str, float], spreads: Mapping[str, float]) -> str:
    spread = f" ± {spreads[name]:.3f}" if name in spreads else ""
    return f"{means[name]:.3f}{spread}" if name in means else ""


def _gravities(texts: list[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        motion, _, value = text.rpartition("=")
        try:
            found[motion] = float(value)
        except ValueError:
            found[motion] = 0.0
        if not motion or not 0 < found[motion] < math.inf:
            raise typer.BadParameter(f"{text!r}: give MOTION=G, as free_fall=0.6", param_hint="--gravity")
    return found


class _Heard:
    """See `motiontrace.curation.evaluation.evaluate.Listener`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, what: str, total: int | None, of: Literal["clips", "fine-tunes"] = "clips") -> None:
        """A part begins."""
        self._progress.begin(what, total, CLIPS if of == "clips" else FINE_TUNES)

    def step(self, done: int, kept: int) -> None:
        """So much of it is done, and so much of that by an earlier run."""
        self._progress.to(done, kept=kept)
