"""A whole evaluation: encode the clips, score them by every method, train, and gather the figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from motiontrace.attribution.engine import plan_recipe
from motiontrace.attribution.families import find_checkpoint, load_denoiser, load_model
from motiontrace.catalog.locking import held
from motiontrace.curation.evaluation import controls, counterfactual, lds
from motiontrace.curation.evaluation.checks import check_clips, check_queries
from motiontrace.curation.evaluation.clips import metadata_values, prepare_clips
from motiontrace.curation.evaluation.counterfactual import Ranking
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.curation.evaluation.gradients import GradientScores
from motiontrace.curation.evaluation.methods import CENTRED, NO_MASK, OURS, PAPER, UNTRAINED, VARIANTS
from motiontrace.curation.evaluation.outcomes import Outcomes
from motiontrace.curation.evaluation.retrieval import Match, matches
from motiontrace.curation.evaluation.samples import Sampler
from motiontrace.curation.evaluation.sets import agreement
from motiontrace.curation.evaluation.statistics import Interval, ceiling, datamodelling_score
from motiontrace.curation.evaluation.training import Experiment
from motiontrace.curation.finetuning.objective import checkpoint_timesteps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.curation.evaluation.sets import Agreement
    from motiontrace.curation.evaluation.settings import EvaluationSettings
    from motiontrace.curation.evaluation.subsets import Kind
    from motiontrace.indexer.manifest import ManifestRow

FLOW, CAPTIONS, MAGNITUDE, KNOWN, RANDOM = (
    "flow neighbours",
    "caption neighbours",
    "motion magnitude",
    "motion known",
    "random",
)
BY_VOTES = f"{OURS.name}, by votes"
"""How the best tenth by the default recipe is called that is chosen one by one."""


@dataclass(frozen=True)
class Corpus:
    """The clips of an evaluation, with their captions and the metadata fields that it uses."""

    train: Sequence[ManifestRow]
    held_out: Sequence[ManifestRow]
    motion: str
    """The metadata field that names a clip's motion."""
    looks: Sequence[str]
    """Fields that say how a clip looks."""
    within: Sequence[str]
    """Motions that subsets are drawn within; none: the `settings.within` with most clips."""
    gravities: Mapping[str, float]
    """By motion, frame heights / s^2, for videos generated of it."""
    fps: float | None
    """Frames a second of generated videos; None: the family's."""


@dataclass(frozen=True)
class Score:
    """A method on one kind of subsets."""

    score: Interval
    lead: Interval | None
    """By how much the default recipe is ahead of it; None for that recipe itself."""


@dataclass(frozen=True)
class Evaluation:
    """All figures."""

    clips: int
    queries: int
    scores: Mapping[Kind, Mapping[str, Score]]
    ceilings: Mapping[Kind, float]
    chances: Mapping[Kind, float]
    """How far from 0 random scores come out: see `motiontrace.curation.evaluation.lds.chance`."""
    retrieval: Mapping[str, Mapping[str, Match]]
    results: Sequence[counterfactual.Result]
    real: Mapping[str, float]
    """Measures of the measured clips themselves, means over motions; empty where no videos were generated."""
    agreement: Agreement | None
    """Of the tenths that were trained on, by the default recipe."""
    problems: Sequence[str]
    """Clips that could not be used."""


class Listener(Protocol):
    """Is called as an evaluation goes on."""

    def begin(self, what: str, total: int | None, of: Literal["clips", "fine-tunes"] = "clips") -> None:
        """A part of it begins, of `total` steps; None: their number is not known."""
        ...

    def step(self, done: int, kept: int) -> None:
        """So many of its steps are done, and so many of them by an earlier run."""
        ...


def evaluate(
    location: str,
    corpus: Corpus,
    settings: EvaluationSettings,
    folder: Path,
    listener: Listener,
    device: str | None = None,
) -> Evaluation:
    """Evaluates the checkpoint at `location`; `folder` keeps what was computed, and a stopped run goes on.

    Raises EvaluationError where the clips do not make an evaluation, or another run is at work in `folder`, and
    ModelError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".evaluating") as ours:
        if not ours:
            raise EvaluationError(
                f"another run is at work in {folder}: wait until it has ended, or name another folder"
            )
        return _evaluate(location, corpus, settings, folder, listener, device)


def _evaluate(
    location: str, corpus: Corpus, settings: EvaluationSettings, folder: Path, listener: Listener, device: str | None
) -> Evaluation:
    columns = corpus.motion, *corpus.looks
    for rows in (corpus.train, corpus.held_out):
        for column in columns:
            metadata_values(rows, column)  # reports a wrong name before hours of encoding
    listener.begin("loading the model", None)
    checkpoint = find_checkpoint(location)
    recipe = plan_recipe(checkpoint, PAPER.settings)
    model = load_model(checkpoint, timesteps=recipe.timesteps, dtype="float32", device=device)
    problems: list[str] = []
    listener.begin("encoding", len(corpus.train) + len(corpus.held_out))
    heard = _Counter(listener, problems).clip
    train, held_out = (prepare_clips(rows, model, recipe, heard) for rows in (corpus.train, corpus.held_out))
    del model
    fields, query_fields = (
        {column: metadata_values(clips.rows, column) for column in columns} for clips in (train, held_out)
    )
    groups, query_groups = fields[corpus.motion], query_fields[corpus.motion]
    asked = [name for name in groups if name in set(query_groups)]
    among = list(corpus.within) or [name for name, _ in Counter(asked).most_common(settings.within)]
    check_queries(corpus.motion, groups, query_groups, among, halves=settings.counterfactual)
    subsets = lds.plan_subsets(groups, settings, among)
    check_clips(folder, train, held_out)
    gradients = GradientScores(
        checkpoint, train, held_out, folder, device=device, on_clip=_Sketches(listener, len(train) + len(held_out))
    )
    methods = (OURS, PAPER, NO_MASK, UNTRAINED, *(VARIANTS if settings.variants else ()))
    scores = {
        **{method.name: gradients.scores(method) for method in methods},
        FLOW: controls.flow_neighbours(train, held_out),
        CAPTIONS: controls.caption_neighbours(train, held_out),
        MAGNITUDE: controls.motion_magnitude(train, held_out),
        KNOWN: controls.same_group(groups, query_groups),
        RANDOM: controls.random_scores(train, held_out, settings.seed),
    }

    listener.begin("loading the denoiser", None)
    denoiser = load_denoiser(checkpoint, timesteps=recipe.timesteps, dtype="float32", device=device)
    experiment = Experiment(denoiser, train, held_out, settings.training, checkpoint_timesteps(checkpoint))
    base = {"checkpoint": checkpoint.digest(), "training": settings.training.model_dump(mode="json")}
    outcomes = Outcomes(folder / "outcomes.jsonl", base, train, held_out)
    measured: Mapping[Kind, Sequence[lds.Block]] = {}
    if settings.datamodelling:
        listener.begin("training on subsets", len(subsets) * settings.repeats, "fine-tunes")
        measured = lds.measure(subsets, outcomes, experiment, query_groups, settings, _Counter(listener).run)
    results: list[counterfactual.Result] = []
    real: dict[str, float] = {}
    agreed = None
    if settings.counterfactual:
        rankings = {
            **{
                each.name: Ranking(
                    gradients.scores(each), gradients.gradients(each)[0], gradients.directions(each).offset
                )
                for each in (OURS, CENTRED, PAPER, NO_MASK)
            },
            **{name: Ranking(scores[name]) for name in (FLOW, MAGNITUDE)},
            KNOWN: Ranking(controls.same_group_first(groups, query_groups, settings.seed)),
            BY_VOTES: Ranking(scores[OURS.name]),
        }
        selections = counterfactual.plan_selections(
            rankings, (OURS.name,), sorted(set(query_groups)), query_groups, settings
        )
        part = checkpoint.denoiser_folder(recipe.timesteps)
        sampler = (
            Sampler(checkpoint, part, settings.samples, corpus.gravities, corpus.fps, device)
            if settings.samples
            else None
        )
        count = 1 + len({selection.clips for selection in selections})
        listener.begin("training on selections", count, "fine-tunes")
        results, falls = counterfactual.run(
            selections, outcomes, experiment, held_out, query_groups, sampler, settings, _Counter(listener).run
        )
        if sampler is not None:
            real = counterfactual.measured_themselves(held_out, query_groups, sampler)
        agreed = agreement(falls, counterfactual.TENTH.most(len(train)), rankings[OURS.name], query_groups)
    return Evaluation(
        clips=len(train),
        queries=len(held_out),
        scores={kind: _compared(blocks, scores, query_groups) for kind, blocks in measured.items()},
        ceilings={kind: ceiling([block.falls for block in blocks]) for kind, blocks in measured.items()},
        chances={
            kind: lds.chance(blocks, query_groups, len(train), settings.seed) for kind, blocks in measured.items()
        },
        retrieval={name: matches(found, fields, query_fields) for name, found in scores.items()},
        results=results,
        real=real,
        agreement=agreed,
        problems=problems,
    )


def _compared(
    blocks: Sequence[lds.Block], scores: Mapping[str, NDArray[np.float64]], query_groups: Sequence[str]
) -> dict[str, Score]:
    falls = [block.falls.mean(0) for block in blocks]
    predictions = {name: [block.predicted(found, query_groups) for block in blocks] for name, found in scores.items()}
    estimates = {name: datamodelling_score(found, falls) for name, found in predictions.items()}
    ours = estimates[OURS.name]
    return {
        name: Score(found.interval(), None if name == OURS.name else (ours - found).interval())
        for name, found in estimates.items()
    }


class _Counter:
    """Counts steps, and gathers what was wrong with clips."""

    def __init__(self, listener: Listener, problems: list[str] | None = None) -> None:
        self._listener, self._problems, self._done, self._kept = listener, problems, 0, 0

    def clip(self, problem: str | None) -> None:
        """A clip was looked at."""
        self.run(kept=False)
        if problem is not None and self._problems is not None:
            self._problems.append(problem)

    def run(self, kept: bool) -> None:
        """A fine-tune is done; `kept`: by an earlier run."""
        self._done += 1
        self._kept += kept
        self._listener.step(self._done, self._kept)


class _Sketches:
    """Reports the progress of gradients to the listener."""

    def __init__(self, listener: Listener, total: int) -> None:
        self._listener, self._total, self._name = listener, total, ""

    def __call__(self, name: str, done: int, kept: int) -> None:
        if name != self._name:
            self._name = name
            self._listener.begin(f"gradients: {name}", self._total)
        if done:
            self._listener.step(done, kept)
