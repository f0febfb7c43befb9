"""A query answered straight from an index, in this process: no service, nothing stored."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

from catalog.database import Database
from catalog.records import QueryRecord, now
from service.engines import Engines
from service.indexes.choice import choose_index
from service.queries.answer import answer
from service.queries.documents import full
from service.searchers import Searchers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.queries.schemas import Query
    from service.settings import ServiceSettings


def ask_index(
    settings: ServiceSettings,
    video: Path,
    prompt: str,
    *,
    k: int = 10,
    index: str | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Query:
    """Which clips of ``index`` (None: the only one) taught the motion of ``video``; the document the service serves.

    Raises ProblemError where the index cannot be told, and VideoError, ModelError, BasisError,
    RecipeMismatchError, GradientError or CatalogError: why there is no answer.
    """
    with video.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    database = Database.open(settings.url)
    try:
        with database.reading() as session:
            record = choose_index(session, index)
            moment = now()
            asked = QueryRecord(
                id=uuid.uuid4().hex, index_id=record.id, prompt=prompt, video_path=str(video), video_sha256=digest, k=k,
                status="done", recipe_digest=record.recipe_digest, created_at=moment, started_at=moment,
            )  # fmt: skip
        engines = Engines(settings.device, settings.basis_directory)
        found = answer(asked, record, engines, Searchers(settings.index_directory), on_stage)
        asked.outcome, asked.result = found.outcome, found.ranking.model_dump(mode="json")
        asked.timings, asked.info, asked.finished_at = found.timings, found.info, now()
        with database.reading() as session:
            return full(session, asked)
    finally:
        database.close()
