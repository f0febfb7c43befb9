"""What is removed in the course of time: old queries, their videos before them, and uploads that no query names."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from motiontrace.catalog.records import now
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.service.kept_videos import remove_abandoned, remove_upload

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database
    from motiontrace.service.settings import ServiceSettings

PORTION = 1000  # queries that are forgotten in one transaction: others want to write, too
log = logging.getLogger(__name__)


def clean_up(database: Database, settings: ServiceSettings) -> None:
    """Remove queries and videos that the settings call old, and videos that no query names.

    Queries whose video is removed keep their answers and their gradients. Any number of processes may do this at once.
    """
    if settings.keep_queries_days is not None:
        _forget_old_queries(database, settings.upload_directory, settings.keep_queries_days)
    with database.writing() as session:
        expired = QueryRepository(session).expire_uploads(now() - timedelta(days=settings.keep_uploads_days))
    for path in expired:
        remove_upload(settings.upload_directory, path)
    if expired:
        log.info("removed %d videos of queries that ended over %g days ago", len(expired), settings.keep_uploads_days)
    with database.reading() as session:
        named = {Path(path).parent.name for path in QueryRepository(session).video_paths()}
    remove_abandoned(settings.upload_directory, named)


def _forget_old_queries(database: Database, directory: Path, days: float) -> None:
    before, number = now() - timedelta(days=days), 0
    while True:
        with database.writing() as session:
            forgotten = QueryRepository(session).delete_ended(before, PORTION)
        for video in forgotten:
            if video is not None:
                remove_upload(directory, video)
        number += len(forgotten)
        if len(forgotten) < PORTION:
            break
    if number:
        log.info("forgot %d queries that ended over %g days ago", number, days)
