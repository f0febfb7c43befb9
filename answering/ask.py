"""A question answered straight from an index, in this process and without a service."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from motiontrace.answering.answer import Answer, answer, answer_clip
from motiontrace.answering.choice import choose_index
from motiontrace.answering.documents import full
from motiontrace.answering.engines import Engines
from motiontrace.answering.errors import QuestionError
from motiontrace.answering.filters import stored_filter
from motiontrace.answering.ranking import preconditioning
from motiontrace.answering.sandbox import Decoder, decoder_limits
from motiontrace.answering.searchers import Searchers
from motiontrace.answering.unmet import check_passable
from motiontrace.attribution.threads import interruptibly
from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.records import IndexRecord, QueryRecord, now
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.catalog.repositories.queries import pack_direction, pack_gradient
from motiontrace.catalog.repositories.storable import check_storable
from motiontrace.documents.questions import VideoQuestion
from motiontrace.files import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motiontrace.answering.settings import AnsweringSettings
    from motiontrace.documents.queries import Query
    from motiontrace.documents.questions import ClipQuestion

    Question = VideoQuestion | ClipQuestion


def ask(
    settings: AnsweringSettings,
    question: Question,
    *,
    keep: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Query:
    """Which clips of an index taught the motion of a video, or move like one of its clips?

    Args:
        settings: where the catalog is, and where gradients are computed.
        question: a video with the prompt that it was generated from, or the id of a clip of the index.
        keep: whether the catalog keeps the answer, as if a service had given it. The video itself is not kept.
        on_stage: is called with each stage of a video's answer as it begins: loading, decoding, motion, gradient,
            scoring.

    Returns:
        The document that the service serves, `status` "done". Its paths are absolute, and `id` names it once it is
        kept.

    Raises:
        QuestionError: there is no such index or clip, or several indexes and no name; the filter leaves no clip; the
            answer could not be kept. Nothing has been computed then.
        VideoError: the video cannot be used. FileError and OSError: it cannot be read.
        DecoderError: the process that decodes the video did not finish.
        ModelError, RecipeMismatchError: the model cannot be loaded, or is not the one that made the index.
        GradientError: the video has no gradient.
        CatalogError: the catalog or the index cannot be used.
    """
    digest = interruptibly(file_sha256, question.video) if isinstance(question, VideoQuestion) else None
    with _index(settings, question, keep) as (database, index):
        asked = _record(index, question, digest)
        searchers = Searchers(settings.index_directory)
        if isinstance(question, VideoQuestion):
            found = _of_video(settings, asked, index, database, searchers, on_stage)
        else:
            found = answer_clip(question.clip, asked.k, asked.filter, asked.precondition, index, database, searchers)
        _finish(asked, found)
        if keep:
            with database.writing() as session:
                QueryRepository(session).keep(asked)
        with database.reading() as session:
            return full(session, asked, str)


@contextmanager
def _index(settings: AnsweringSettings, question: Question, keep: bool) -> Iterator[tuple[Database, IndexRecord]]:
    """The index that is asked, and its database, open; raises QuestionError and CatalogError."""
    database = Database.open(settings.url, reading=not keep)
    try:
        with database.reading() as session:
            index = choose_index(session, question.index)
            check_passable(session, index, question.filter)
        if keep:
            _check_keepable(database, question)
        yield database, index
    finally:
        database.close()


def _check_keepable(database: Database, question: Question) -> None:
    """See that the catalog can be written and holds the prompt; raises QuestionError where it cannot."""
    try:
        if isinstance(question, VideoQuestion):
            check_storable("The prompt", question.prompt)
        with database.writing() as session:
            session.connection()  # without a statement the session takes no lock
    except ValueError as error:
        raise QuestionError("answer_not_kept", str(error), field="prompt") from error
    except DatabaseUnavailableError as error:
        raise QuestionError("answer_not_kept", f"The answer could not be kept. {error}") from error


def _record(index: IndexRecord, question: Question, digest: str | None) -> QueryRecord:
    moment = now()
    query = QueryRecord(
        id=uuid.uuid4().hex,
        index_id=index.id,
        k=question.k,
        status="done",
        recipe_digest=index.recipe_digest,
        filter=stored_filter(question.filter),
        precondition=preconditioning(question.precondition, question.damping),
        created_at=moment,
        started_at=moment,
    )
    if isinstance(question, VideoQuestion):
        query.prompt, query.video_path, query.video_sha256 = question.prompt, str(question.video), digest
    else:
        query.clip_id = question.clip
    return query


def _of_video(
    settings: AnsweringSettings,
    asked: QueryRecord,
    index: IndexRecord,
    database: Database,
    searchers: Searchers,
    on_stage: Callable[[str], None],
) -> Answer:
    decoder = Decoder(decoder_limits(settings))
    try:
        engines = Engines(settings.device, settings.basis_directory)
        return answer(asked, index, database, engines, searchers, decoder, on_stage)
    finally:
        decoder.close()


def _finish(asked: QueryRecord, found: Answer) -> None:
    """Put an answer into the record of its query."""
    asked.outcome, asked.result = found.outcome, found.ranking.model_dump(mode="json")
    asked.timings, asked.info, asked.finished_at = found.timings, found.info, now()
    asked.gradient = None if found.gradient is None else pack_gradient(found.gradient)
    for name, value in pack_direction(found.direction).items():
        setattr(asked, name, value)
    asked.video_path = None  # the catalog keeps no copy of the video
