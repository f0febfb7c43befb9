"""Both ends of a ranking: the clips of an index in the order of their scores for a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.answering.chance import chance_among
from motiontrace.answering.errors import QuestionError
from motiontrace.answering.filters import clip_filter
from motiontrace.answering.unmet import unmet
from motiontrace.attribution.chance import stands_out
from motiontrace.catalog.repositories import ClipRepository
from motiontrace.catalog.vectors import Direction
from motiontrace.catalog.vectors.ranking import ends
from motiontrace.documents.filters import Filter
from motiontrace.documents.queries import Place, Ranking
from motiontrace.preconditions import DAMPING, in_british

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.vectors import Hit, Searcher
    from motiontrace.documents.chance import Chance
    from motiontrace.preconditions import Precondition


NOTHING_LEFT = (
    "Nothing is left of this motion once it is centred: it is what the clips of this index have in common, so there is "
    "nothing to rank by. Ask without centring."
)


def preconditioning(kind: Precondition, damping: float | None) -> dict[str, Any] | None:
    """The settings of a precondition as QueryRecord.precondition has them; None: the query stays as it is.

    Args:
        kind: "none", "centre" ("center" is read as it) or "whiten".
        damping: to whiten, lambda as a multiple of the mean eigenvalue; None: the default.

    Raises:
        QuestionError: `damping_without_whitening`: there is a damping, and nothing to damp.
    """
    kind = in_british(kind)
    if damping is not None and kind != "whiten":
        raise QuestionError(
            "damping_without_whitening",
            f"The query has a damping, {damping:g}, and the precondition {kind!r}, which has none.",
            field="damping",
        )
    if kind == "none":
        return None
    whitening = {"damping": DAMPING if damping is None else damping}
    return {"kind": kind, **(whitening if kind == "whiten" else {})}


def toward(searcher: Searcher, gradient: NDArray[np.float32], precondition: Mapping[str, Any] | None) -> Direction:
    """What clips are scored against by a query's gradient, float32 [dim]; `precondition` as in QueryRecord."""
    if precondition is None:
        return Direction(gradient)
    damping = precondition.get("damping", DAMPING)
    return searcher.statistics().precondition(gradient, precondition["kind"], damping)


def rank(
    database: Database,
    searcher: Searcher,
    index: IndexRecord,
    direction: Direction,
    k: int,
    filter: Mapping[str, Any] | None,
    *,
    without: str | None = None,
) -> Ranking:
    """Both ends of the ranking along `direction`, of the clips that pass `filter`.

    Args:
        database: holds what filters look at.
        searcher: of the index.
        index: the index.
        direction: what clips are scored against.
        k: how many clips from each end.
        filter: as QueryRecord.filter has it; None passes all.
        without: a clip that is left out.
    """
    if direction.vector is None:
        return Ranking(message=NOTHING_LEFT, ranked=0, top=[], bottom=[])
    wanted = None if filter is None else Filter.model_validate(filter)
    within = None if wanted is None else passing(database, index, wanted)
    scores = searcher.scores(direction.vector, without=without)
    chance = chance_among(scores.values, direction, searcher.dim)  # of all clips, whatever the filter
    if within is None:
        found = ends(scores, k, len(scores.values), searcher.manifest_version)
    else:
        found = searcher.search(direction.vector, k, within, without=without)
    remarks: list[str] = []
    if wanted is not None:
        with database.reading() as session:
            remarks = unmet(session, index, wanted)
    if not found.total:
        other = "" if without is None else "other "
        remarks.insert(
            0,
            f"The index holds no {other}clip that moves, so there is nothing to rank."
            if wanted is None
            else f"No {other}clip that moves passes the filter, so there is nothing to rank.",
        )
    return Ranking(
        message=" ".join(remarks) or None,
        chance=chance,
        ranked=found.total,
        top=[place(hit, direction, chance) for hit in found.top],
        bottom=[place(hit, direction, chance) for hit in found.bottom],
    )


def passing(database: Database, index: IndexRecord, *filters: Filter) -> Collection[str]:
    """The ids of the index's clips that pass every filter."""
    with database.reading() as session:
        clips = ClipRepository(session)
        passed = [set(clips.ids(index.id, clip_filter(each))) for each in filters]
    return set.intersection(*passed)


def place(hit: Hit, direction: Direction, chance: Chance | None) -> Place:
    """A clip's place in the ranking; `chance` is its query's."""
    score = direction.score(hit.score)
    out = None if chance is None else stands_out(score, chance.low, chance.high)
    return Place(id=hit.id, score=score, rank=hit.rank, percentile=hit.percentile, stands_out=out)
