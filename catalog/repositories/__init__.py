"""All SQL of the catalog. A repository works in the session it is given and never commits."""

from catalog.repositories.clips import ClipRepository, ClipRow
from catalog.repositories.entries import EntryRepository, EntryRow, Fingerprint, KnownFile, OtherUse
from catalog.repositories.indexes import IndexOverview, IndexRepository
from catalog.repositories.pages import Page
from catalog.repositories.queries import QueryRepository

__all__ = [
    "ClipRepository",
    "ClipRow",
    "EntryRepository",
    "EntryRow",
    "Fingerprint",
    "IndexOverview",
    "IndexRepository",
    "KnownFile",
    "OtherUse",
    "Page",
    "QueryRepository",
]
