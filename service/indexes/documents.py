"""From the catalog's records to the documents of /v1/indexes, for whoever shows an index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from motiontrace.documents.indexes import ClipCounts, Index, IndexSummary

if TYPE_CHECKING:
    from motiontrace.catalog.repositories import IndexOverview


def summary(overview: IndexOverview) -> IndexSummary:
    """An index without its recipe."""
    return IndexSummary(**_fields(overview))


def full(overview: IndexOverview) -> Index:
    """An index with its recipe."""
    return Index(**_fields(overview), recipe=json.loads(overview.index.recipe))


def _fields(overview: IndexOverview) -> dict[str, Any]:
    return {
        "name": overview.index.name,
        "model": overview.index.model,
        "recipe_digest": overview.index.recipe_digest,
        "clips": ClipCounts(**overview.counts),
        "created_at": overview.index.created_at,
        "updated_at": overview.index.updated_at,
    }
