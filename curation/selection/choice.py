"""Which clips are chosen: together or by their votes, within a budget, with floors, without what is dropped. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.selection.floors import column_floors, needed
from motiontrace.curation.selection.matching import match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from motiontrace.curation.selection.floors import ColumnFloors, FloorReport, Groups
    from motiontrace.curation.selection.matching import Gradients
    from motiontrace.curation.selection.settings import SelectionSettings
    from motiontrace.curation.selection.tally import Tally

    Rows = NDArray[np.int64]


class Decided(IntEnum):
    """What reviewers want done with a clip."""

    nothing = 0
    keep = 1
    down_weight = 2
    drop = 3


class Fate(IntEnum):
    """What became of a clip that was ranked."""

    chosen = 0  # by its votes, together with the others, or because nothing spoke against it
    chosen_by_floor = 1  # without the floor it would not have been
    over_budget = 2
    dropped_by_label = 3
    dropped_as_worst = 4


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is known of N clips that move, beside their scores, in the order of the tally."""

    decided: NDArray[np.int8]
    """[N], each a `Decided`."""
    groups: Mapping[str, Groups]
    """By metadata column: those that floors are of."""
    order: Rows | None = None
    """[N], a clip's place in the order of ids, by which equal clips are ranked; None: as they come."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen of N clips, and why."""

    rows: Rows
    """[chosen], by rank."""
    ranks: Rows
    """[N], 1 is the best of all N; what is dropped has a rank too."""
    weights: NDArray[np.float64]
    """[N], in (0, 1]; other than 1 only where reviewers weigh a clip down."""
    fates: NDArray[np.int8]
    """[N], each a `Fate`."""
    floors: list[ColumnFloors]

    def reports(self) -> list[FloorReport]:
        """What became of each floor."""
        return [report for floors in self.floors for report in floors.reports(self.rows)]


def choose(
    tally: Tally,
    clips: Candidates,
    settings: SelectionSettings,
    gradients: Gradients | None = None,
    offset: float = 0.0,
) -> Choice:
    """Choose clips.

    Clips are ranked by votes (times the weight), then by weight, then by mean score, then by id. The worst are those
    with most votes against them, then those of the lowest mean score, whatever reviewers decided. Only a clip that
    reviewers want kept is not dropped for being among the worst. Dropped clips are never chosen, even for a floor.
    The rest fill the budget: those that `match` finds, or the first by rank, as `settings.choose_by` says. Where these
    do not meet the floors, the best clips that the floors need are chosen first, and then others up to the budget.

    Args:
        tally: of the N clips.
        clips: what else is known of them.
        settings: how to choose.
        gradients: of the N clips; only matching asks for them.
        offset: what was taken off the clips' inner products to make the tally's mean scores.

    Raises SelectionError where the floors ask for more clips than may be chosen.
    """
    count = len(tally.votes)
    decided = clips.decided if settings.labels else np.zeros(count, np.int8)
    weights = np.where(decided == Decided.down_weight, settings.down_weight, 1.0)
    order = np.arange(count) if clips.order is None else clips.order
    ranking = np.lexsort((order, -tally.score, -weights, -(tally.votes * weights)))
    ranks = np.empty(count, np.int64)
    ranks[ranking] = np.arange(1, count + 1)
    fates = np.full(count, Fate.over_budget, np.int8)
    worst = _worst(tally, order, settings)
    fates[worst[decided[worst] != Decided.keep]] = Fate.dropped_as_worst
    fates[decided == Decided.drop] = Fate.dropped_by_label
    left = ranking[fates[ranking] == Fate.over_budget]  # by rank
    budget = len(left) if settings.budget is None else min(settings.budget.most(count), len(left))
    floors = column_floors(settings.at_least, clips.groups, left, budget)
    nothing = np.zeros(len(left), np.bool_)

    def fill(taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if settings.choose_by == "votes" or budget == len(left):
            taken = taken.copy()
            taken[np.flatnonzero(~taken)[: budget - int(taken.sum())]] = True
            return taken
        assert gradients is not None
        return match(gradients, tally.score + np.float32(offset), weights, left, taken, budget)

    taken = free = fill(nothing)
    best = np.concatenate([np.flatnonzero(free), np.flatnonzero(~free)])
    asked = nothing.copy()
    asked[best] = needed(floors, left[best], budget)
    if (asked & ~free).any():
        taken = fill(asked)
    fates[left[taken]] = Fate.chosen
    fates[left[asked & ~free]] = Fate.chosen_by_floor
    return Choice(left[taken], ranks, weights, fates, floors)


def _worst(tally: Tally, order: Rows, settings: SelectionSettings) -> Rows:
    """The clips that most queries have at the bottom of their ranking."""
    if settings.drop_worst is None:
        return np.zeros(0, np.int64)
    ranking = np.lexsort((order, tally.score, -tally.against))
    return ranking[: settings.drop_worst.most(len(ranking))]
