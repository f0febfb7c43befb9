"""Queries as the API sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.answering import documents
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.service.problem import not_found

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from motiontrace.answering.documents import ShownPath
    from motiontrace.answering.reading import Source
    from motiontrace.catalog.records import IndexRecord, QueryRecord
    from motiontrace.documents.queries import Query


def full(session: Session, query: QueryRecord, shown: ShownPath, index: IndexRecord | None = None) -> Query:
    """A query with its result, as answering gives it; the hint adds how to ask otherwise over HTTP."""
    found = documents.full(session, query, shown, index)
    if found.hint is None:
        return found
    return found.model_copy(update={"hint": f'{found.hint} Ask with "precondition": "centre" to see how they differ.'})


def read_query(service: Source, query_id: str) -> Query:
    """The query as it is now.

    Raises:
        ProblemError: 404, there is none of that id.
    """
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
        if query is None:
            raise not_found("query", query_id, "/v1/queries")
        return full(session, query, service.shown)
