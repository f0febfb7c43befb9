"""What is removed in the course of time: videos of old queries, and uploads that no query names."""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.records import now
from catalog.repositories import QueryRepository
from service.uploads import remove_abandoned

if TYPE_CHECKING:
    from catalog.database import Database
    from service.settings import ServiceSettings

log = logging.getLogger(__name__)


def remove_old_uploads(database: Database, settings: ServiceSettings) -> None:
    """Remove the videos of queries that ended longer ago than the setting says, and those that no query names.

    Queries keep their answers and their gradients. Any number of processes may do this at once.
    """
    with database.writing() as session:
        expired = QueryRepository(session).expire_uploads(now() - timedelta(days=settings.keep_uploads_days))
    for path in expired:
        remove_upload(settings.upload_directory, path)
    if expired:
        log.info("removed %d videos of queries that ended over %g days ago", len(expired), settings.keep_uploads_days)
    with database.reading() as session:
        named = {Path(path).parent.name for path in QueryRepository(session).video_paths()}
    remove_abandoned(settings.upload_directory, named)


def remove_upload(directory: Path, video: str) -> None:
    """Remove a query's video with its folder; only what lies in `directory`, whatever the row says."""
    folder = Path(video).parent
    if folder.parent == directory:
        shutil.rmtree(folder, ignore_errors=True)
