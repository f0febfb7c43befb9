"""The calls of /v1/queries."""

import shutil
import time
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import JSONResponse

from catalog.repositories import QueryRepository
from catalog.vectors.files import sync_directory
from service import links
from service.context import Context, Service
from service.indexes.choice import choose_index
from service.parameters import PageSize, QueryId, Text
from service.prefer import wait_seconds
from service.problem import documented, invalid, not_found
from service.queries.documents import full, summary
from service.queries.form import FORM, Question
from service.queries.schemas import Query, QueryPage, Status
from service.uploads import Upload, received

router = APIRouter(prefix="/v1/queries", tags=["queries"])

LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Path of the query."}}
FINISHED: tuple[Status, ...] = ("done", "failed")


@router.post(
    "",
    summary="Ask which clips taught a motion",
    status_code=HTTPStatus.ACCEPTED,
    openapi_extra={"requestBody": FORM},
    responses={
        201: {
            "model": Query,
            "description": "Finished while the call waited: see `status`.",
            "headers": LOCATION,
        },
        202: {"description": "Queued: read it at Location until it is done or failed.", "headers": LOCATION},
        **documented(400, 409, 413, 415, 422),
    },
    response_model=Query,
)
async def create_query(
    request: Request,
    service: Service,
    prefer: Annotated[
        list[str] | None,
        Header(
            description="`wait=SECONDS` (RFC 7240): the call is held open for the result, so long at most.",
            examples=["wait=30"],
        ),
    ] = None,
) -> Response:
    """Send a generated video and its prompt; the answer names the training clips that taught its motion, and
    those that fight it.

    The gradient takes seconds to minutes, so the call returns 202 at once with the query's address, or with
    `Prefer: wait=30` 201 and the finished query where that time was enough. A query that cannot be answered
    (the video is damaged, say) ends with status `failed` and tells why in `error`.
    """
    settings = service.settings
    async with received(
        request,
        settings.upload_directory,
        max_bytes=settings.max_upload_bytes,
        text_fields=tuple(Question.model_fields),
    ) as upload:
        question = Question.of(upload.fields)
        query = await run_sync(_store, service, upload, question)
    service.worker.wake()
    headers = {"location": links.query(query.id)}
    wait = wait_seconds(prefer or [], most=settings.max_wait_seconds)
    if wait is not None:
        headers["preference-applied"] = f"wait={wait}"
        await _until_finished(service, query.id, wait)
        query = await run_sync(_read, service, query.id)
    status = HTTPStatus.CREATED if query.status in FINISHED else HTTPStatus.ACCEPTED
    return JSONResponse(query.model_dump(mode="json"), status, headers)


@router.get("", summary="List queries", responses=documented(422))
def list_queries(
    service: Service,
    status: Annotated[Status | None, Parameter(description="Only queries of this status.")] = None,
    after: Annotated[Text | None, Parameter(description="Where the page before ended; its `next` sets it.")] = None,
    limit: PageSize = 50,
) -> QueryPage:
    """Queries without their results, the newest first."""
    with service.database.reading() as session:
        try:
            page = QueryRepository(session).page(status=status, after=after, limit=limit)
        except ValueError as error:
            raise invalid("after", "unknown_place", str(error), "Follow `next` of the page before.") from error
        queries = [summary(session, query) for query in page.items]
    asked = {"status": status, "limit": limit, "after": page.next}
    following = urlencode({name: value for name, value in asked.items() if value is not None})
    return QueryPage(queries=queries, next=None if page.next is None else f"/v1/queries?{following}")


@router.get("/{query_id}", summary="Read a query and its result", responses=documented(404, 422))
def get_query(service: Service, query_id: QueryId) -> Query:
    """The query as it is now; once `status` is `done`, with both ends of the ranking."""
    return _read(service, query_id)


def _store(service: Context, upload: Upload, question: Question) -> Query:
    """Keep the video, then the row that names it: the row is never without its file, nor the file without its row."""
    # What is wrong with a video is told by its file's name, and people know theirs by another one.
    kept = service.settings.upload_directory / upload.path.name / "The upload"
    with service.database.reading() as session:
        index = choose_index(session, question.index)
    kept.parent.mkdir()
    try:
        upload.path.rename(kept)
        sync_directory(kept.parent)
        sync_directory(service.settings.upload_directory)
        with service.database.writing() as session:
            query = QueryRepository(session).create(
                index, prompt=question.prompt, video_path=str(kept), video_sha256=upload.sha256, k=question.k
            )
            return full(session, query)
    except BaseException:
        shutil.rmtree(kept.parent, ignore_errors=True)
        raise


def _read(service: Context, query_id: str) -> Query:
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
        if query is None:
            raise not_found("query", query_id, "/v1/queries")
        return full(session, query)


async def _until_finished(service: Context, query_id: str, seconds: float) -> None:
    """Wait by looking at the row, so that it does not matter which process works on it; not beyond a shutdown."""
    until, pause = time.monotonic() + seconds, 0.02
    while not await run_sync(_finished, service, query_id):
        left = until - time.monotonic()
        if left <= 0 or service.stopping.is_set():
            return
        await anyio.sleep(min(pause, left))
        pause = min(1.5 * pause, 0.25)


def _finished(service: Context, query_id: str) -> bool:
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
    return query is None or query.status in FINISHED
