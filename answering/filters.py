"""Filters as the catalog takes and keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.catalog.repositories import ClipFilter
from motiontrace.documents.filters import meanings

if TYPE_CHECKING:
    from motiontrace.documents.filters import Filter


def clip_filter(filter: Filter) -> ClipFilter:
    """Give the filter as the catalog takes it, each text with what else it stands for."""
    return ClipFilter(
        metadata={
            name: tuple(meaning for value in values for meaning in meanings(value))
            for name, values in filter.metadata.items()
        },
        verdict=tuple(filter.verdict),
        without_verdict=tuple(filter.without_verdict),
        decision=tuple(filter.decision),
        without_decision=tuple(filter.without_decision),
    )


def stored_filter(filter: Filter | None) -> dict[str, Any] | None:
    """Give the filter as QueryRecord.filter has it; None passes every clip."""
    if filter is None or filter.is_empty:
        return None
    return filter.model_dump(mode="json", exclude_defaults=True)
