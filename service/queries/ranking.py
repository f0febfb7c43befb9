"""What is read off an index: both ends of a ranking, and all of it page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.repositories import ClipRepository
from service.filters import Filter
from service.queries.schemas import Place, Ranking

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from catalog.database import Database
    from catalog.records import IndexRecord
    from catalog.vectors import Hit, Searcher


def rank(
    database: Database,
    searcher: Searcher,
    index: IndexRecord,
    gradient: NDArray[np.float32],
    k: int,
    filter: Mapping[str, Any] | None,
    *,
    without: str | None = None,
) -> Ranking:
    """Both ends of the ranking by `gradient`, float32 [dim], of the clips that pass `filter`.

    Args:
        database: holds what filters look at.
        searcher: of the index.
        index: the index.
        gradient: of unit length.
        k: how many clips from each end.
        filter: as QueryRecord.filter has it; None passes all.
        without: a clip that is left out.
    """
    within = None if filter is None else passing(database, index, Filter.model_validate(filter))
    found = searcher.search(gradient, k, within, without=without)
    message = None
    if not found.total:
        other = "" if without is None else "other "
        message = (
            f"The index holds no {other}clip that moves, so there is nothing to rank."
            if filter is None
            else f"No {other}clip that moves passes the filter, so there is nothing to rank."
        )
    return Ranking(
        message=message,
        ranked=found.total,
        top=[place(hit) for hit in found.top],
        bottom=[place(hit) for hit in found.bottom],
    )


def passing(database: Database, index: IndexRecord, *filters: Filter) -> Collection[str]:
    """The ids of the index's clips that pass every filter."""
    with database.reading() as session:
        clips = ClipRepository(session)
        passed = [set(clips.ids(index.id, each.to_catalog())) for each in filters]
    return set.intersection(*passed)


def place(hit: Hit) -> Place:
    """A clip's place as the service tells it."""
    score = min(1.0, max(-1.0, hit.score))  # a cosine, but for half floats' rounding
    return Place(id=hit.id, score=score, rank=hit.rank, percentile=hit.percentile)
