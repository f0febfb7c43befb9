"""From the catalog's records of queries to the documents that every face shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from motiontrace.catalog.repositories import ClipRepository, IndexRepository, QueryRepository
from motiontrace.catalog.repositories.clips import Description
from motiontrace.documents import links
from motiontrace.documents.chance import remark
from motiontrace.documents.queries import Hit, Place, Query, QueryError, QuerySummary, Ranking
from motiontrace.formats.file_names import file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from motiontrace.catalog.records import IndexRecord, QueryRecord

ShownPath: TypeAlias = "Callable[[str], str | None]"  # an absolute path as its reader may see it; None: not at all


def summary(session: Session, query: QueryRecord) -> QuerySummary:
    """A query without its result."""
    return QuerySummary.model_validate(_fields(session, query))


def full(session: Session, query: QueryRecord, shown: ShownPath, index: IndexRecord | None = None) -> Query:
    """A query with its result, where there is one; captions, metadata and labels are those that the index has now.

    `shown` gives clips' paths as the reader may see them; `index` is the query's, where it is at hand. The hint says
    what all scores have in common; what to do about that each face adds in its own words.
    """
    info = query.info or {}
    fields = _fields(session, query, index) | {
        "stage": query.stage,
        "recipe_digest": query.recipe_digest,
        "gradient_of": info.get("gradient_of"),
        "statistics": query.statistics,
        "motion": info.get("motion"),
        "timings": query.timings or {},
    }
    if query.status == "queued":
        fields["place"] = QueryRepository(session).place(query)
    if query.video_sha256 is not None:
        fields["video"] = info.get("video", {}) | {"sha256": query.video_sha256}
    if query.status == "failed" and query.error_code is not None:
        fields["error"] = QueryError(code=query.error_code, message=query.error_message or "")
    if query.result is not None:
        ranking = Ranking.model_validate(query.result)
        found = hits(session, query.index_id, ranking.top + ranking.bottom, shown)
        middle = len(ranking.top)
        fields |= {"message": ranking.message, "ranked": ranking.ranked, "chance": ranking.chance}
        fields["hint"] = remark(ranking.chance, fields["precondition"])
        fields |= {"top": found[:middle], "bottom": found[middle:]}
    return Query.model_validate(fields)


def hits(session: Session, index_id: int, places: Sequence[Place], shown: ShownPath) -> list[Hit]:
    """Places in the ranking of an index with what is known there of their clips."""
    described = ClipRepository(session).described({place.id for place in places}, index_id)
    found = []
    for place in places:
        clip = described.get(place.id) or Description(None, None, {}, None, None)
        found.append(
            Hit(
                id=place.id,
                score=place.score,
                rank=place.rank,
                percentile=place.percentile,
                stands_out=place.stands_out,
                file_name=None if clip.path is None else file_name(clip.path),
                path=None if clip.path is None else shown(clip.path),
                caption=clip.caption,
                metadata=clip.metadata,
                verdict=clip.verdict,
                decision=clip.decision,
                video_url=links.video(place.id),
                thumbnail_url=links.thumbnail(place.id),
            )
        )
    return found


def _fields(session: Session, query: QueryRecord, index: IndexRecord | None = None) -> dict[str, Any]:
    index = index or IndexRepository(session).by_id(query.index_id)
    assert index is not None  # its deletion deletes its queries
    precondition = query.precondition or {}
    return {
        "id": query.id,
        "index": index.name,
        "prompt": query.prompt,
        "clip": query.clip_id,
        "k": query.k,
        "filter": query.filter,
        "precondition": precondition.get("kind", "none"),
        "damping": precondition.get("damping"),
        "status": query.status,
        "outcome": query.outcome,
        "created_at": query.created_at,
        "finished_at": query.finished_at,
    }
