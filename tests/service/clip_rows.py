"""Rows of clips that are made to say something else."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import ClipRepository, EntryRepository

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings


def change(settings: ServiceSettings, clip_id: str, **values: Any) -> None:
    """Change what the catalog and every index say of a clip."""
    with closing(Database.open(settings.url)) as database, database.writing() as session:
        clip = ClipRepository(session).get(clip_id)
        assert clip is not None
        for name, value in values.items():
            setattr(clip, name, value)
        for entry in EntryRepository(session).of_clip(clip_id):
            for name in values.keys() & entry.__table__.columns.keys():
                setattr(entry, name, values[name])
