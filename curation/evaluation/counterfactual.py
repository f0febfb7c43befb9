"""What comes of acting on a ranking: fine-tunes on what each method would choose, for each motion in turn.

The queries that choose are one half of a motion's held-out clips, what is measured is the other half, and videos
generated from its captions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.evaluation.outcomes import held_out_losses, losses_and_samples
from motiontrace.curation.evaluation.statistics import means
from motiontrace.curation.selection.choice import Candidates, Decided, choose
from motiontrace.curation.selection.settings import Amount, SelectionSettings
from motiontrace.curation.selection.tally import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from motiontrace.curation.evaluation.clips import Clips
    from motiontrace.curation.evaluation.outcomes import Outcomes
    from motiontrace.curation.evaluation.samples import Sampler
    from motiontrace.curation.evaluation.settings import EvaluationSettings
    from motiontrace.curation.evaluation.training import Experiment

BASE, EVERYTHING = "base", "everything"
LEFT_OUT = "without "
"""How the names of selections begin that leave some clips out, where the others choose some."""
TENTH = Amount.parse("10%")


@dataclass(frozen=True)
class Selection:
    """Training clips that a method chooses for the queries of one motion; `draw` numbers repeated random draws."""

    method: str
    motion: str
    clips: tuple[int, ...]
    draw: int = 0


@dataclass(frozen=True)
class Result:
    """What came of a selection."""

    selection: Selection
    fall: float
    """By how much of itself the base's held-out motion loss of the motion's measured clips fell."""
    samples: Mapping[str, float]
    """Measures of generated videos, the means over those that have one."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """A method's scores, in the form that `motiontrace select` chooses by."""

    scores: NDArray[np.float64]
    """[held-out clips, clips]."""
    gradients: NDArray[np.float32] | None = None
    """[clips, dim], that the scores are of: clips are chosen by matching; None: by votes."""
    offsets: NDArray[np.float64] | None = None
    """[held-out clips], what centring subtracted from the inner products with the gradients; None: no centring."""

    def products(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `matching.Gradients` has it."""
        assert self.gradients is not None
        return self.gradients @ vector

    def weighted_sum(self, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `matching.Gradients` has it."""
        assert self.gradients is not None
        return weights @ self.gradients[rows].astype(np.float64)


def plan_selections(
    rankings: Mapping[str, Ranking],
    without: Sequence[str],
    motions: Sequence[str],
    query_groups: Sequence[str],
    settings: EvaluationSettings,
) -> list[Selection]:
    """What is compared: every method's best tenth, all but the worst tenth by those in `without`, and controls."""
    count = next(iter(rankings.values())).scores.shape[1]
    everything = tuple(range(count))
    drawn = _random(count, settings)
    selections = []
    for motion in motions:
        asking = queries_of(query_groups, motion)[0]
        selections.append(Selection(EVERYTHING, motion, everything))
        for draw, tenth in enumerate(drawn):
            selections.append(Selection("random", motion, tenth, draw))
            rest = tuple(sorted(set(everything) - set(tenth)))
            selections.append(Selection(f"{LEFT_OUT}random", motion, rest, draw))
        for method, ranking in rankings.items():
            selections.append(Selection(method, motion, _chosen(ranking, asking, budget=TENTH)))
            if method in without:
                selections.append(Selection(worst_left_out(method), motion, _chosen(ranking, asking, worst=TENTH)))
    return selections


def worst_left_out(method: str) -> str:
    """The name of the selection of everything but the worst tenth by a method."""
    return f"{LEFT_OUT}worst by {method}"


def queries_of(groups: Sequence[str], motion: str) -> tuple[list[int], list[int]]:
    """A motion's held-out clips: those that choose, and those that are measured."""
    places = [place for place, group in enumerate(groups) if group == motion]
    return places[::2], places[1::2]


def run(
    selections: Sequence[Selection],
    outcomes: Outcomes,
    experiment: Experiment,
    held_out: Clips,
    query_groups: Sequence[str],
    sampler: Sampler | None,
    settings: EvaluationSettings,
    on_run: Callable[[bool], None],
) -> tuple[list[Result], dict[tuple[int, ...], NDArray[np.float64]]]:
    """Fine-tunes on every selection, once on equal ones. The base itself, not trained on, comes first.

    Each is trained once: the order of the clips changes the result far less than the selection does
    (docs/results/evaluation.md). `on_run` is called after each set of clips, with whether an earlier run had trained
    on it. Also returns, by the clips that were trained on, the share by which each held-out clip's motion loss fell,
    [held-out clips].
    """
    measured = {motion: queries_of(query_groups, motion)[1] for motion in {chosen.motion for chosen in selections}}
    # Some selections are of several motions, or of several methods: they are trained on once, for all of them.
    motions: dict[tuple[int, ...], set[str]] = {(): set(measured)}
    for selection in selections:
        motions.setdefault(selection.clips, set()).add(selection.motion)
    losses: dict[tuple[int, ...], NDArray[np.float64]] = {}
    samples: dict[tuple[int, ...], dict[str, dict[str, float]]] = {}
    for clips, of in motions.items():
        before = outcomes.measured
        if sampler is not None:
            prompts = {motion: [held_out.rows[place].caption for place in measured[motion]] for motion in sorted(of)}
            losses[clips], samples[clips] = losses_and_samples(
                outcomes, experiment, sampler, clips, settings.seed, prompts
            )
        else:
            losses[clips] = held_out_losses(outcomes, experiment, clips, settings.seed)
        on_run(outcomes.measured == before)
    falls = {clips: 1 - found / losses[()] for clips, found in losses.items()}
    results = []
    for selection in [*(Selection(BASE, motion, ()) for motion in sorted(measured)), *selections]:
        places = measured[selection.motion]
        fall = float(np.mean(falls[selection.clips][places]))
        results.append(Result(selection, fall, samples.get(selection.clips, {}).get(selection.motion, {})))
    return results, falls


def measured_themselves(held_out: Clips, query_groups: Sequence[str], sampler: Sampler) -> dict[str, float]:
    """What generated videos would come to if they were real.

    These are the measures of the measured clips themselves, as the model sees them and each at its own rate: means over
    motions.
    """
    clips = {motion: queries_of(query_groups, motion)[1] for motion in sorted(set(query_groups))}
    return means(
        sampler.mean_measures(((held_out.prepared[place].frames, held_out.rate(place)) for place in places), motion)
        for motion, places in clips.items()
    )


def wins(results: Sequence[Result], ours: str, theirs: str) -> tuple[int, int]:
    """On how many motions `ours` lowers the held-out loss by more than the mean of `theirs`, and of how many."""
    motions = sorted({result.selection.motion for result in results})

    def mean(method: str, motion: str) -> float:
        chosen = [r.fall for r in results if r.selection.method == method and r.selection.motion == motion]
        return float(np.mean(chosen))

    return sum(mean(ours, motion) > mean(theirs, motion) for motion in motions), len(motions)


def _random(count: int, settings: EvaluationSettings) -> list[tuple[int, ...]]:
    rng = np.random.default_rng([settings.seed, count])
    size = TENTH.most(count)
    return [tuple(sorted(rng.choice(count, size, replace=False).tolist())) for _ in range(settings.random_selections)]


def _chosen(
    ranking: Ranking, asking: Sequence[int], budget: Amount | None = None, worst: Amount | None = None
) -> tuple[int, ...]:
    """What `motiontrace select` chooses for these held-out clips."""
    scores = ranking.scores[list(asking)].astype(np.float32)
    undecided = Candidates(np.full(scores.shape[1], Decided.nothing, np.int8), {})
    settings = SelectionSettings(
        budget=budget, drop_worst=worst, choose_by="votes" if ranking.gradients is None else "matching"
    )
    offset = 0.0 if ranking.offsets is None else float(ranking.offsets[list(asking)].mean())
    found = choose(tally(iter(scores), settings.percentile), undecided, settings, ranking, offset)
    return tuple(sorted(found.rows.tolist()))
