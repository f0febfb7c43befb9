"""Storing what is asked: videos as jobs for the workers, questions about clips with their answer."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from motiontrace.answering.answer import answer_clip
from motiontrace.answering.choice import choose_index
from motiontrace.answering.filters import stored_filter
from motiontrace.answering.ranking import preconditioning
from motiontrace.answering.sandbox import DecoderError
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.durable_files import sync_directory
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.service.kept_videos import KEPT, remove_folder
from motiontrace.service.problem import ProblemError, invalid
from motiontrace.service.queries.bodies import ClipQuestion, VideoQuestion
from motiontrace.service.queries.documents import full

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from motiontrace.catalog.records import IndexRecord, QueryRecord
    from motiontrace.documents.queries import Query
    from motiontrace.service.context import Context
    from motiontrace.service.forms import Upload


@dataclass(frozen=True)
class Asked:
    """A question that is checked and ready to be stored."""

    index: IndexRecord
    insert: Callable[[Session], QueryRecord]
    folder: Path | None = None  # of its video


def prepare(service: Context, question: VideoQuestion | ClipQuestion, video: Upload | None) -> Asked:
    """Check a question, move its video to where it stays, or answer it where it is about a clip.

    Raises:
        ProblemError: 409 no index, 422 the question or its video cannot be used, 503 its index cannot be read.
    """
    precondition = preconditioning(question.precondition, question.damping)
    with service.database.reading() as session:
        index = choose_index(session, question.index)
    if isinstance(question, ClipQuestion):
        return Asked(index, _answered(service, index, question, precondition))
    assert video is not None
    return _kept(service, index, question, precondition, video)


def store(service: Context, asked: Sequence[Asked]) -> list[Query]:
    """Store questions, all or none; the rows are never without their videos, nor the videos without their rows.

    Raises:
        ProblemError: 503, too many queries wait already.
    """
    inserted = False
    try:
        videos = sum(each.folder is not None for each in asked)
        # What is answered already is not worth waiting for the disk.
        with service.database.writing(durable=videos > 0) as session:
            queries = QueryRepository(session)
            if videos and queries.queue().queued + videos > service.settings.max_queue:
                raise ProblemError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "queue_full",
                    f"{service.settings.max_queue:,} queries wait already, the most that this service lets wait.",
                    "Send it again later; start more workers, or raise MOTIONTRACE_MAX_QUEUE on the server.",
                    headers={"retry-after": "30"},
                )
            stored = [full(session, each.insert(session), service.shown, each.index) for each in asked]
            inserted = True
        return stored
    except BaseException:
        if not inserted:  # else the commit may have succeeded, and housekeeping removes the videos that no row names
            discard(asked)
        raise


def discard(asked: Sequence[Asked]) -> None:
    """Remove the videos of questions that are not stored."""
    for each in asked:
        if each.folder is not None:
            remove_folder(each.folder)


def _kept(
    service: Context, index: IndexRecord, question: VideoQuestion, precondition: dict[str, Any] | None, video: Upload
) -> Asked:
    directory = service.settings.upload_directory
    kept = directory / video.path.name / KEPT
    kept.parent.mkdir()
    try:
        video.path.rename(kept)
        service.decoder.inspect(kept)
        sync_directory(kept.parent)
        sync_directory(directory)
    except (VideoError, DecoderError) as error:
        remove_folder(kept.parent)
        if service.stopping.is_set() and isinstance(error, DecoderError):
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The service is being stopped.", "Send it again later."
            ) from error
        raise invalid(
            "video", error.code, str(error), "Send a video that is whole and within the limits of this service."
        ) from error
    except BaseException:
        remove_folder(kept.parent)
        raise
    fields: dict[str, Any] = {
        "prompt": question.prompt,
        "video_path": str(kept),
        "video_sha256": video.sha256,
        "k": question.k,
        "precondition": precondition,
    }
    service.metrics.uploaded(video.size)
    passing = stored_filter(question.filter)
    return Asked(index, lambda session: QueryRepository(session).create(index, **fields, filter=passing), kept.parent)


def _answered(
    service: Context, index: IndexRecord, question: ClipQuestion, precondition: dict[str, Any] | None
) -> Callable[[Session], QueryRecord]:
    passing = stored_filter(question.filter)
    found = answer_clip(question.clip, question.k, passing, precondition, index, service.database, service.searchers)
    return lambda session: QueryRepository(session).create_answered(
        index,
        clip_id=question.clip,
        k=question.k,
        filter=passing,
        precondition=precondition,
        outcome=found.outcome,
        gradient=found.gradient,
        result=found.ranking.model_dump(mode="json"),
        timings=found.timings,
        direction=found.direction,
    )
