"""All SQL of the catalog. A repository works in the session it is given and never commits."""

from motiontrace.catalog.repositories.candidates import CandidateRepository, ClipFile
from motiontrace.catalog.repositories.clip_row import ClipRow
from motiontrace.catalog.repositories.clips import ClipRepository
from motiontrace.catalog.repositories.entries import EntryRepository, EntryRow, Fingerprint, KnownFile, OtherUse
from motiontrace.catalog.repositories.filters import ClipFilter
from motiontrace.catalog.repositories.indexes import IndexOverview, IndexRepository
from motiontrace.catalog.repositories.jobs import JobRepository, Lease
from motiontrace.catalog.repositories.label_studio import LabelStudioRepository
from motiontrace.catalog.repositories.labels import LabelRepository
from motiontrace.catalog.repositories.pages import Page
from motiontrace.catalog.repositories.queries import QueryRepository, Queue
from motiontrace.catalog.repositories.secrets import SecretRepository
from motiontrace.catalog.repositories.selections import (
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
