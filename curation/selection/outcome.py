"""What queries and settings choose of an index: the scores are brought together with what the catalog knows."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motiontrace.attribution.chance import ALIKE, chance_of
from motiontrace.catalog.repositories import CandidateRepository
from motiontrace.curation.selection.candidates import read_candidates
from motiontrace.curation.selection.choice import Choice, Decided, Fate, choose
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.matching import ROUNDS
from motiontrace.curation.selection.tally import Tally, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.vectors import Direction, Searcher
    from motiontrace.catalog.vectors.rows import RowIds
    from motiontrace.curation.selection.settings import SelectionSettings

_FLOORS_KEPT = 1000  # of those reported


class ChosenClip(NamedTuple):
    """A clip that was chosen, and why."""

    id: str
    rank: int | None  # among all clips that move; None: nothing moves in it
    votes: int
    votes_against: int
    score: float | None  # mean over the queries
    weight: float  # in (0, 1]
    reason: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """What queries and settings choose of one version of an index."""

    settings: SelectionSettings
    ids: RowIds
    tally: Tally
    choice: Choice
    fights: NDArray[np.int32]
    """[N], for how many queries a clip scores below zero by more than chance explains (`attribution/chance.py`); the
    rate is that of all queries together."""
    still: dict[str, float]
    """Clips in which nothing moves that are kept: their weights, by id, ascending."""
    counts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.choice.rows) + len(self.still)

    def chosen(self) -> Iterator[ChosenClip]:
        """The chosen clips, by rank; last those in which nothing moves."""
        choice, found = self.choice, self.tally
        all_taken = not (choice.fates == Fate.over_budget).any()
        for row in choice.rows.tolist():
            weight, score = float(choice.weights[row]), float(f"{found.score[row]:.7g}")
            yield ChosenClip(
                self.ids[row],
                int(choice.ranks[row]),
                int(found.votes[row]),
                int(found.against[row]),
                score,
                weight,
                _weighed(self._reason(row, all_taken), weight),
            )
        for clip_id, weight in self.still.items():
            yield ChosenClip(clip_id, None, 0, 0, None, weight, _weighed("nothing moves, kept as asked", weight))

    def digest(self) -> str:
        """SHA-256 of the ids and weights of the chosen clips, in order."""
        content = hashlib.sha256()
        for row in self.choice.rows.tolist():
            content.update(f"{self.ids[row]}\t{self.choice.weights[row]:.9g}\n".encode())
        for clip_id, weight in self.still.items():
            content.update(f"{clip_id}\t{weight:.9g}\n".encode())
        return content.hexdigest()

    def _reason(self, row: int, all_taken: bool) -> str:
        if self.choice.fates[row] == Fate.chosen_by_floor:
            served = ((each, each.groups.codes[row]) for each in self.choice.floors)
            floors = [
                f"{each.column}:{each.groups.values[code]}" for each, code in served if code >= 0 and each.asked[code]
            ]
            return f"floor of {', '.join(floors)}"
        if all_taken:
            return "not dropped"
        if self.settings.choose_by == "matching":
            return "matching"
        return "votes" if self.tally.votes[row] else "mean score"


def _weighed(reason: str, weight: float) -> str:
    return reason if weight == 1 else f"{reason}; weighed down by a reviewer"


def choose_from(
    database: Database,
    searcher: Searcher,
    index: IndexRecord,
    directions: Sequence[Direction],
    settings: SelectionSettings,
    on_scored: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Score the clips of an index, read what is needed of them, and choose.

    Args:
        database: of the catalog.
        searcher: of the index's vectors.
        index: what to choose from.
        directions: what clips are scored against, one a query; each has a vector.
        settings: how to choose.
        on_scored: is called with the number of passes over the vectors that are done, and with about how many there
            are: one a query, and those of matching.

    Raises:
        SelectionError: no clip moves, or the floors cannot be met.
    """
    if not searcher.total:
        raise SelectionError(f"the index {index.name!r} holds no clip that moves: there is nothing to choose from")

    passes = _Passes(searcher, len(directions) + _rounds(settings, searcher.total), on_scored)

    fights = np.zeros(searcher.total, np.int32)

    def scores() -> Iterator[NDArray[np.float32]]:
        # One query at a time: so its scores have the same bits whichever others there are.
        for direction in directions:
            assert direction.vector is not None
            found = passes.products(direction.vector) - np.float32(direction.offset)
            low = chance_of(found, searcher.dim, queries=len(directions)).low
            if low is not None:
                fights[np.maximum(found, -ALIKE) < np.float32(low)] += 1
            yield found

    tallied = tally(scores(), settings.percentile)
    columns = {floor.column for floor in settings.at_least}
    with database.reading() as session:
        clips = CandidateRepository(session, index.id)
        candidates = read_candidates(session, index.id, searcher.ids, columns)
        outcomes = clips.counts()
        still = _still(clips, settings) if settings.no_motion else {}
    offset = float(np.mean([direction.offset for direction in directions]))
    choice = choose(tallied, candidates, settings, passes, offset)
    passes.end()
    counts = {"failed": outcomes["failed"], "no_motion": outcomes["no_motion"], "no_motion_kept": len(still)}
    return Outcome(settings, searcher.ids, tallied, choice, fights, still, counts | _counts(tallied, choice, fights))


class _Passes:
    """The gradients of an index; counts how often all are gone through."""

    def __init__(self, searcher: Searcher, total: int, on_pass: Callable[[int, int], None]) -> None:
        self._searcher, self._total, self._on_pass, self._done = searcher, total, on_pass, 0

    def products(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        found = self._searcher.scores(vector).values
        self._done += 1
        self._on_pass(self._done, max(self._done, self._total))
        return found

    def end(self) -> None:
        """Reports the last pass: how many passes matching takes is known only at its end."""
        self._on_pass(self._done, self._done)

    def weighted_sum(self, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._searcher.weighted_sum(rows, weights)


def _rounds(settings: SelectionSettings, clips: int) -> int:
    """How many passes matching takes, at most."""
    if settings.budget is None or settings.choose_by != "matching":
        return 0
    return min(ROUNDS, settings.budget.most(clips))


def _still(clips: CandidateRepository, settings: SelectionSettings) -> dict[str, float]:
    """Weights of the clips in which nothing moves, without those that reviewers dropped."""
    ids = clips.still()
    decided = clips.decisions(ids[0], ids[-1]) if ids and settings.labels else {}
    weights = {Decided.down_weight.name: settings.down_weight}
    return {
        clip_id: weights.get(decided.get(clip_id, ""), 1.0)
        for clip_id in ids
        if decided.get(clip_id) != Decided.drop.name
    }


def _counts(tallied: Tally, choice: Choice, fights: NDArray[np.int32]) -> dict[str, Any]:
    fates = np.bincount(choice.fates, minlength=len(Fate)).tolist()
    votes = Counter(tallied.votes[choice.rows].tolist())
    return {
        "ranked": len(choice.fates),
        "chosen": len(choice.rows),
        **{fate.name: fates[fate] for fate in Fate if fate != Fate.chosen},
        "dropped_that_fight": int(np.count_nonzero(fights[choice.fates == Fate.dropped_as_worst])),
        "chosen_that_fight": int(np.count_nonzero(fights[choice.rows])),
        "weighed_down": int(np.count_nonzero(choice.weights[choice.rows] != 1)),
        "by_votes": {str(count): votes[count] for count in sorted(votes, reverse=True)},
        "floors": [vars(report) for report in choice.reports()[:_FLOORS_KEPT]],
    }
