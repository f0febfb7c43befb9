"""The calls of /v1/indexes."""

import json
from typing import Any

from fastapi import APIRouter

from catalog.repositories import IndexOverview, IndexRepository
from service.context import Service
from service.indexes.schemas import ClipCounts, Index, IndexList, IndexSummary
from service.parameters import IndexName
from service.problem import documented, not_found

router = APIRouter(prefix="/v1/indexes", tags=["indexes"])


@router.get("", summary="List indexes", responses=documented())
def list_indexes(service: Service) -> IndexList:
    """All indexes by name, each with how many clips it ranks."""
    with service.database.reading() as session:
        overviews = IndexRepository(session).overview()
    return IndexList(indexes=[IndexSummary(**_fields(overview)) for overview in overviews])


@router.get("/{name}", summary="Read an index", responses=documented(404, 422))
def get_index(service: Service, name: IndexName) -> Index:
    """An index with the recipe its gradients were computed by."""
    with service.database.reading() as session:
        overviews = {overview.index.name: overview for overview in IndexRepository(session).overview()}
    if name not in overviews:
        raise not_found("index", name, "/v1/indexes")
    return Index(**_fields(overviews[name]), recipe=json.loads(overviews[name].index.recipe))


def _fields(overview: IndexOverview) -> dict[str, Any]:
    return {
        "name": overview.index.name,
        "model": overview.index.model,
        "recipe_digest": overview.index.recipe_digest,
        "clips": ClipCounts(**overview.counts),
        "created_at": overview.index.created_at,
        "updated_at": overview.index.updated_at,
    }
