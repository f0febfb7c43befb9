"""The calls of /v1/indexes."""

from fastapi import APIRouter

from motiontrace.catalog.repositories import IndexRepository
from motiontrace.documents.indexes import Index, IndexList
from motiontrace.service.context import Service
from motiontrace.service.indexes.documents import full, summary
from motiontrace.service.parameters import IndexName
from motiontrace.service.problem import documented, not_found

router = APIRouter(prefix="/v1/indexes", tags=["indexes"])


@router.get("", summary="List indexes", responses=documented())
def list_indexes(service: Service) -> IndexList:
    """All indexes by name, each with how many clips it ranks."""
    with service.database.reading() as session:
        overviews = IndexRepository(session).overview()
    return IndexList(indexes=[summary(overview) for overview in overviews])


@router.get("/{name}", summary="Read an index", responses=documented(404, 422))
def get_index(service: Service, name: IndexName) -> Index:
    """An index with the recipe its gradients were computed by."""
    with service.database.reading() as session:
        overviews = {overview.index.name: overview for overview in IndexRepository(session).overview()}
    if name not in overviews:
        raise not_found("index", name, "/v1/indexes")
    return full(overviews[name])
