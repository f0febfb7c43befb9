"""From the catalog's records to the documents of /v1/queries."""

from typing import Any

from sqlalchemy.orm import Session

from catalog.records import QueryRecord
from catalog.repositories import ClipRepository, IndexRepository
from service import links
from service.queries.schemas import Hit, Query, QueryError, QuerySummary, Ranking


def summary(session: Session, query: QueryRecord) -> QuerySummary:
    """A query without its result."""
    return QuerySummary.model_validate(_fields(session, query))


def full(session: Session, query: QueryRecord) -> Query:
    """A query with its result, where there is one; captions and metadata are the clips' present ones."""
    info = query.info or {}
    fields = _fields(session, query) | {
        "stage": query.stage,
        "recipe_digest": query.recipe_digest,
        "video": info.get("video", {}) | {"sha256": query.video_sha256},
        "motion": info.get("motion"),
        "timings": query.timings or {},
    }
    if query.error_code is not None:
        fields["error"] = QueryError(code=query.error_code, message=query.error_message or "")
    if query.result is not None:
        fields |= _joined(session, Ranking.model_validate(query.result))
    return Query.model_validate(fields)


def _fields(session: Session, query: QueryRecord) -> dict[str, Any]:
    index = IndexRepository(session).by_id(query.index_id)
    assert index is not None  # its deletion deletes its queries
    return {
        "id": query.id,
        "index": index.name,
        "prompt": query.prompt,
        "k": query.k,
        "status": query.status,
        "outcome": query.outcome,
        "created_at": query.created_at,
        "finished_at": query.finished_at,
    }


def _joined(session: Session, ranking: Ranking) -> dict[str, Any]:
    clips = ClipRepository(session).get_many({place.id for place in ranking.top + ranking.bottom})
    ends: dict[str, list[Hit]] = {}
    for name, places in (("top", ranking.top), ("bottom", ranking.bottom)):
        ends[name] = []
        for place in places:
            clip = clips.get(place.id)
            ends[name].append(
                Hit(
                    **place.model_dump(),
                    caption=None if clip is None else clip.caption,
                    metadata={} if clip is None else clip.extra,
                    video_url=links.video(place.id),
                    thumbnail_url=links.thumbnail(place.id),
                )
            )
    return {"message": ranking.message, "ranked": ranking.ranked, **ends}
