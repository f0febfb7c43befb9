"""The linear datamodelling score: do predictions rank subsets of the clips as training on each does?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.curation.evaluation.outcomes import held_out_losses
from motiontrace.curation.evaluation.statistics import mean_spearman
from motiontrace.curation.evaluation.subsets import Kind, Subset, random_halves, skewed, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from motiontrace.curation.evaluation.outcomes import Outcomes
    from motiontrace.curation.evaluation.settings import EvaluationSettings
    from motiontrace.curation.evaluation.training import Experiment

_CHANCE_DRAWS = 500


@dataclass(frozen=True)
class Block:
    """Queries, and the subsets whose outcomes say something of them."""

    queries: list[str]
    """The names of the motions; the queries of a motion are its held-out clips."""
    subsets: list[Subset]
    falls: NDArray[np.float64]
    """By how much of itself the base's held-out motion loss of a query fell: [repeats, queries, subsets]."""

    def predicted(self, scores: NDArray[np.float64], query_groups: Sequence[str]) -> NDArray[np.float64]:
        """Summed `scores` [held-out clips, clips] of each subset for each query: [queries, subsets]."""
        members = np.asarray(query_groups)
        of_query = np.stack([scores[members == name].mean(0) for name in self.queries])
        return np.stack([of_query[:, list(subset.clips)].sum(1) for subset in self.subsets], axis=1)


def chance(blocks: Sequence[Block], query_groups: Sequence[str], clips: int, seed: int) -> float:
    """How far from 0 random scores of `clips` training clips come out: 95 of 100 are no further.

    The random scores are normal, and the same for every query. Of all random scores these reach farthest: outcomes of
    different queries are alike in part, so errors do not average out. With few clips or queries the distance is large.
    A bootstrap over the queries and subsets of one draw does not show it.
    """
    rng = np.random.default_rng(seed)
    outcomes = [block.falls.mean(0) for block in blocks]
    values = []
    for _ in range(_CHANCE_DRAWS):
        scores = np.tile(rng.standard_normal(clips), (len(query_groups), 1))
        values.append(mean_spearman([block.predicted(scores, query_groups) for block in blocks], outcomes))
    return float(np.percentile(np.abs(values), 95))


def plan_subsets(groups: Sequence[str], settings: EvaluationSettings, stories: Sequence[str]) -> list[Subset]:
    """All subsets of an evaluation; `stories` are the motions that the last kind is drawn within.

    Raises EvaluationError where there are too few clips.
    """
    counts = {story: groups.count(story) for story in stories}
    if len(groups) < 16 or min(counts.values()) < 4:
        few = min(counts, key=lambda story: counts[story])
        raise EvaluationError(
            "an evaluation takes 16 clips or more in which something moves, and 4 or more of every motion that is"
            f" looked into: there are {len(groups)}, and {counts[few]} of {few!r}"
        )
    if settings.subsets < 4 * len(stories):
        raise EvaluationError(
            f"{len(stories)} motions cannot share {settings.subsets} subsets: each takes 4, so name fewer with --within"
        )
    return [
        *random_halves(groups, settings.subsets, settings.seed),
        *skewed(groups, settings.subsets, settings.seed),
        *within(groups, stories, settings.subsets, settings.seed),
    ]


def measure(
    subsets: Sequence[Subset],
    outcomes: Outcomes,
    experiment: Experiment,
    query_groups: Sequence[str],
    settings: EvaluationSettings,
    on_run: Callable[[bool], None],
) -> dict[Kind, list[Block]]:
    """Fine-tunes on every subset, `settings.repeats` times, and gathers what became of each query.

    `query_groups` are the motions of the held-out clips. `on_run` is called after each fine-tune, with whether an
    earlier run had made it. Subsets within a motion are measured on that motion alone: a block for each motion.
    """
    members = np.asarray(query_groups)
    names = sorted(set(query_groups))
    base = held_out_losses(outcomes, experiment, (), 0)
    losses = []
    for repeat in range(settings.repeats):
        for subset in subsets:
            before = outcomes.measured
            losses.append(held_out_losses(outcomes, experiment, subset.clips, settings.seed + repeat))
            on_run(outcomes.measured == before)
    relative = 1 - np.reshape(losses, (settings.repeats, len(subsets), len(base))) / base
    falls = np.stack([relative[..., members == name].mean(-1) for name in names], axis=1)

    def block(queries: list[str], kind: Kind, group: str | None = None) -> Block:
        columns = [i for i, subset in enumerate(subsets) if subset.kind is kind and subset.group == group]
        rows = [names.index(name) for name in queries]
        return Block(queries, [subsets[i] for i in columns], falls[:, rows][:, :, columns])

    stories = sorted({subset.group for subset in subsets if subset.group is not None})
    return {
        Kind.RANDOM: [block(names, Kind.RANDOM)],
        Kind.SKEWED: [block(names, Kind.SKEWED)],
        Kind.WITHIN: [block([story], Kind.WITHIN, story) for story in stories],
    }
