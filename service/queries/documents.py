"""Queries as the API sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.answering import documents

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from motiontrace.answering.documents import ShownPath
    from motiontrace.catalog.records import IndexRecord, QueryRecord
    from motiontrace.documents.queries import Query


def full(session: Session, query: QueryRecord, shown: ShownPath, index: IndexRecord | None = None) -> Query:
    """A query with its result, as answering gives it; the hint adds how to ask otherwise over HTTP."""
    found = documents.full(session, query, shown, index)
    if found.hint is None:
        return found
    return found.model_copy(update={"hint": f'{found.hint} Ask with "precondition": "centre" to see how they differ.'})
