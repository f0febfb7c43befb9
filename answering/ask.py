"""A query answered straight from an index, in this process and without a service: kept in the catalog, or nowhere."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from motiontrace.answering.answer import Answer, answer, answer_clip
from motiontrace.answering.choice import choose_index
from motiontrace.answering.documents import full
from motiontrace.answering.engines import Engines
from motiontrace.answering.ranking import preconditioning
from motiontrace.answering.sandbox import Decoder, decoder_limits
from motiontrace.answering.searchers import Searchers
from motiontrace.answering.unmet import check_passable
from motiontrace.attribution.threads import interruptibly
from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError, DatabaseUnavailableError
from motiontrace.catalog.records import IndexRecord, QueryRecord, now
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.catalog.repositories.queries import pack_direction, pack_gradient
from motiontrace.catalog.repositories.storable import check_storable
from motiontrace.files import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from motiontrace.answering.settings import AnsweringSettings
    from motiontrace.documents.filters import Filter
    from motiontrace.documents.queries import Query
    from motiontrace.preconditions import Precondition


def ask_index(
    settings: AnsweringSettings,
    video: Path,
    prompt: str,
    *,
    k: int = 10,
    index: str | None = None,
    filter: Filter | None = None,
    precondition: Precondition = "none",
    damping: float | None = None,
    keep: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Query:
    """Which clips of `index` (None: the only one) taught the motion of `video`; the document the service serves.

    With `keep` the catalog has it from then on, as if a service had answered; the video itself is not kept.
    Raises QuestionError where the index cannot be told, and VideoError, DecoderError, ModelError, BasisError,
    RecipeMismatchError, GradientError or CatalogError: why there is no answer, before anything is computed where the
    filter leaves no clip.
    """
    digest = interruptibly(file_sha256, video)
    with _index(settings, index, filter, keep, prompt) as (database, record):
        asked = _query(
            record,
            k,
            filter,
            preconditioning(precondition, damping),
            prompt=prompt,
            video_path=str(video),
            video_sha256=digest,
        )
        engines = Engines(settings.device, settings.basis_directory)
        searchers = Searchers(settings.index_directory)
        decoder = Decoder(decoder_limits(settings))
        try:
            found = answer(asked, record, database, engines, searchers, decoder, on_stage)
        finally:
            decoder.close()
        return _answered(database, asked, found, keep)


def ask_index_about_clip(
    settings: AnsweringSettings,
    clip_id: str,
    *,
    k: int = 10,
    index: str | None = None,
    filter: Filter | None = None,
    precondition: Precondition = "none",
    damping: float | None = None,
    keep: bool = False,
) -> Query:
    """Which clips of `index` (None: the only one) move like one of them; the document the service serves.

    With `keep` the catalog has it from then on.
    Raises QuestionError where the index or the clip cannot be told, and CatalogError: why there is no answer, also
    where the filter leaves no clip.
    """
    with _index(settings, index, filter, keep) as (database, record):
        asked = _query(record, k, filter, preconditioning(precondition, damping), clip_id=clip_id)
        searchers = Searchers(settings.index_directory)
        found = answer_clip(clip_id, k, asked.filter, asked.precondition, record, database, searchers)
        return _answered(database, asked, found, keep)


@contextmanager
def _index(
    settings: AnsweringSettings, name: str | None, filter: Filter | None, keep: bool, prompt: str | None = None
) -> Iterator[tuple[Database, IndexRecord]]:
    database = Database.open(settings.url, reading=not keep)
    try:
        with database.reading() as session:
            record = choose_index(session, name)
            check_passable(session, record, filter)
        if keep:
            _check_keepable(database, prompt)  # before anything is computed
        yield database, record
    finally:
        database.close()


def _query(
    index: IndexRecord, k: int, filter: Filter | None, precondition: dict[str, Any] | None, **about: Any
) -> QueryRecord:
    moment = now()
    return QueryRecord(
        id=uuid.uuid4().hex,
        index_id=index.id,
        k=k,
        status="done",
        recipe_digest=index.recipe_digest,
        filter=None if filter is None else filter.model_dump(mode="json", exclude_defaults=True),
        precondition=precondition,
        created_at=moment,
        started_at=moment,
        **about,
    )


def _answered(database: Database, asked: QueryRecord, found: Answer, keep: bool) -> Query:
    asked.outcome, asked.result = found.outcome, found.ranking.model_dump(mode="json")
    asked.timings, asked.info, asked.finished_at = found.timings, found.info, now()
    asked.gradient = None if found.gradient is None else pack_gradient(found.gradient)
    for name, value in pack_direction(found.direction).items():
        setattr(asked, name, value)
    asked.video_path = None  # whoever keeps the query owns no copy of the video
    if keep:
        with database.writing() as session:
            QueryRepository(session).keep(asked)
    with database.reading() as session:
        return full(session, asked, str)


def _check_keepable(database: Database, prompt: str | None) -> None:
    """See that the catalog can be written, and hold the prompt; raises CatalogError where it cannot."""
    try:
        check_storable("The prompt", prompt)
        with database.writing() as session:
            session.connection()  # a session that asks nothing takes no lock
    except ValueError as error:
        raise CatalogError(f"{error} Or ask without --keep.") from error
    except DatabaseUnavailableError as error:
        raise CatalogError(f"The answer could not be kept. {error} Or ask without --keep.") from error
