"""All SQL of the catalog. A repository works in the session it is given and never commits."""

from catalog.repositories.candidates import CandidateRepository, ClipFile
from catalog.repositories.clips import ClipRepository, ClipRow
from catalog.repositories.entries import EntryRepository, EntryRow, Fingerprint, KnownFile, OtherUse
from catalog.repositories.filters import ClipFilter
from catalog.repositories.indexes import IndexOverview, IndexRepository
from catalog.repositories.jobs import JobRepository, Lease
from catalog.repositories.label_studio import LabelStudioRepository
from catalog.repositories.labels import LabelRepository
from catalog.repositories.pages import Page
from catalog.repositories.queries import QueryRepository, Queue
from catalog.repositories.secrets import SecretRepository
from catalog.repositories.selections import (
    IndexChanges,
    SelectionRepository,
    VideoGradient,
    VideoGradientRepository,
)

__all__ = [
    "CandidateRepository",
    "ClipFile",
    "ClipFilter",
    "ClipRepository",
    "ClipRow",
    "EntryRepository",
    "EntryRow",
    "Fingerprint",
    "IndexChanges",
    "IndexOverview",
    "IndexRepository",
    "JobRepository",
    "KnownFile",
    "LabelRepository",
    "LabelStudioRepository",
    "Lease",
    "OtherUse",
    "Page",
    "QueryRepository",
    "Queue",
    "SecretRepository",
    "SelectionRepository",
    "VideoGradient",
    "VideoGradientRepository",
]
