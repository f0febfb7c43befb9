"""The calls of /v1/queries."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response
from fastapi import Query as Parameter

from motiontrace.answering.choice import choose_index
from motiontrace.answering.documents import summary
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.documents import links
from motiontrace.documents.queries import UNFINISHED, Query, QueryList, QueryPage, Status
from motiontrace.service.context import Context, Service
from motiontrace.service.forms import FormLimits, Upload
from motiontrace.service.kept_videos import remove_upload
from motiontrace.service.parameters import PageSize, QueryId, Text
from motiontrace.service.prefer import wait_seconds
from motiontrace.service.problem import documented, invalid, not_found
from motiontrace.service.queries import asking
from motiontrace.service.queries.bodies import (
    BATCH_BODIES,
    BODIES,
    MAX_BATCH,
    MAX_JSON_BYTES,
    AttachedVideoQuestion,
    Batch,
    ClipQuestion,
    VideoQuestion,
    read_json,
)
from motiontrace.service.queries.documents import full, read_query
from motiontrace.service.uploads import json_body, json_is_sent, received

router = APIRouter(prefix="/v1/queries", tags=["queries"])

LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Path of the query."}}
Prefer = Annotated[
    list[str] | None,
    Header(
        description="`wait=SECONDS` (RFC 7240): the call is held open for the result, so long at most.",
        examples=["wait=30"],
    ),
]


@router.post(
    "",
    summary="Ask which clips taught a motion",
    status_code=HTTPStatus.ACCEPTED,
    openapi_extra={"requestBody": BODIES},
    responses={
        201: {
            "model": Query,
            "description": "Finished: asked about a clip, or while the call waited; see `status`.",
            "headers": LOCATION,
        },
        202: {"description": "Queued: read it at Location until it is finished.", "headers": LOCATION},
        **documented(400, 409, 413, 415, 422),
    },
    response_model=Query,
)
async def create_query(request: Request, service: Service, prefer: Prefer = None) -> Response:
    """Send a generated video and its prompt; the answer names the training clips that taught its motion.

    It also names those with the lowest scores. Where such a score stands out from chance, the clip fights the motion;
    else it is merely least related.

    The gradient takes seconds to minutes, so the call returns 202 at once with the query's address, or with
    `Prefer: wait=30` 201 and the finished query where that time was enough. A query that cannot be answered ends
    with status `failed` and tells why in `error`. A video that was asked about before, with the same prompt, is
    answered from its stored gradient.

    As JSON with the id of a clip instead of a video: which clips move like this one? That is answered at once.
    """
    if json_is_sent(request):
        question = ClipQuestion.of(await json_body(request, MAX_JSON_BYTES))
        (query,) = await _ask(service, [(question, None)])
    else:
        texts = tuple(VideoQuestion.model_fields)
        form_limits = FormLimits(texts, ("video",), max_bytes=service.settings.max_upload_bytes)
        async with received(request, service.settings.upload_directory, form_limits) as form:
            about = VideoQuestion.of_form(form.texts)
            (query,) = await _ask(service, [(about, attached(form.files, "video"))])
    headers = {"location": links.query(query.id)}
    (query,) = await _waited(service, [query], prefer, headers)
    status = HTTPStatus.ACCEPTED if query.status in UNFINISHED else HTTPStatus.CREATED
    return Response(query.model_dump_json(), status, headers, "application/json")


@router.post(
    "/batch",
    summary="Ask several questions in one call",
    status_code=HTTPStatus.ACCEPTED,
    openapi_extra={"requestBody": BATCH_BODIES},
    responses={
        201: {"model": QueryList, "description": "All are finished."},
        202: {"description": "Some are queued: read each until it is finished."},
        **documented(400, 409, 413, 415, 422),
    },
    response_model=QueryList,
)
async def create_queries(request: Request, service: Service, prefer: Prefer = None) -> Response:
    """Ask about several videos and clips. All questions are taken, or none where one of them is refused.

    As a form: `queries` is a JSON array of questions, and each question about a video names the form's field that
    holds it. As JSON, where all are about clips. At most 64; `Prefer: wait` waits for all of them.
    """
    async with AsyncExitStack() as stack:
        if json_is_sent(request):
            batch = Batch.of(await json_body(request, MAX_JSON_BYTES))
            files: dict[str, Upload] = {}
        else:
            most = service.settings.max_upload_bytes
            form_limits = FormLimits(("queries",), None, MAX_BATCH, max_bytes=most, max_text_bytes=MAX_JSON_BYTES)
            form = await stack.enter_async_context(received(request, service.settings.upload_directory, form_limits))
            batch = Batch.of({"queries": read_json("queries", form.texts.get("queries", ""))})
            files = form.files
        _check_files(batch, files)
        queries = await _ask(
            service,
            [
                (each, attached(files, each.video) if isinstance(each, AttachedVideoQuestion) else None)
                for each in batch.queries
            ],
        )
    headers: dict[str, str] = {}
    queries = await _waited(service, queries, prefer, headers)
    unfinished = any(query.status in UNFINISHED for query in queries)
    status = HTTPStatus.ACCEPTED if unfinished else HTTPStatus.CREATED
    return Response(QueryList(queries=queries).model_dump_json(), status, headers, "application/json")


@router.get("", summary="List queries", responses=documented(409, 422))
def list_queries(
    service: Service,
    status: Annotated[Status | None, Parameter(description="Only queries of this status.")] = None,
    index: Annotated[Text | None, Parameter(description="Only queries of this index.")] = None,
    after: Annotated[Text | None, Parameter(description="Where the page before ended; its `next` sets it.")] = None,
    limit: PageSize = 50,
) -> QueryPage:
    """Queries without their results, the newest first."""
    with service.database.reading() as session:
        chosen = None if index is None else choose_index(session, index).id
        try:
            page = QueryRepository(session).page(status=status, index_id=chosen, after=after, limit=limit)
        except ValueError as error:
            raise invalid("after", "unknown_place", str(error), "Follow `next` of the page before.") from error
        queries = [summary(session, query) for query in page.items]
    asked = {"status": status, "index": index, "limit": limit, "after": page.next}
    following = urlencode({name: value for name, value in asked.items() if value is not None})
    return QueryPage(queries=queries, next=None if page.next is None else f"/v1/queries?{following}")


@router.get("/{query_id}", summary="Read a query and its result", responses=documented(404, 422))
def get_query(service: Service, query_id: QueryId) -> Query:
    """The query as it is now; once `status` is `done`, with both ends of the ranking."""
    return read_query(service, query_id)


@router.delete(
    "/{query_id}",
    summary="Cancel or forget a query",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(404, 422),
)
def delete_query(service: Service, query_id: QueryId) -> None:
    """A query that is not finished is cancelled: no worker goes on with it, and it stays readable.

    One that has ended, cancelled or otherwise, is forgotten together with its video.
    """
    with service.database.writing() as session:
        queries = QueryRepository(session)
        query = queries.get(query_id)
        if query is None:
            raise not_found("query", query_id, "/v1/queries")
        if queries.cancel(query_id):
            service.metrics.ended("cancelled")
            return
        video = query.video_path
        queries.delete(query_id)
    if video is not None:
        remove_upload(service.settings.upload_directory, video)


def attached(files: dict[str, Upload], field: str) -> Upload:
    """The file of a form's field.

    Raises:
        ProblemError: 422, there is none.
    """
    if field not in files:
        raise invalid(
            field,
            "video_missing",
            f"The form has no file in the field '{field}'.",
            f"Add the generated video, with curl: -F {field}=@FILE.",
        )
    return files[field]


def _check_files(batch: Batch, files: dict[str, Upload]) -> None:
    """See that each file belongs to exactly one question."""
    named = [each.video for each in batch.queries if isinstance(each, AttachedVideoQuestion)]
    for field in files.keys() - set(named):
        raise invalid(
            field,
            "unknown_field",
            f"The form has a file in the field {field!r}, which no question names.",
            "Name it as the 'video' of a question, or leave it out.",
        )
    for field in {name for name in named if named.count(name) > 1}:
        raise invalid(
            "queries",
            "repeated_field",
            f"Several questions name the video {field!r}.",
            "Send the file once for each question, in a field of its own.",
        )


async def _ask(
    service: Context, questions: Sequence[tuple[VideoQuestion | ClipQuestion, Upload | None]]
) -> list[Query]:
    def ask() -> list[Query]:
        prepared: list[asking.Asked] = []
        try:
            for question, video in questions:
                prepared.append(asking.prepare(service, question, video))
        except BaseException:
            asking.discard(prepared)
            raise
        return asking.store(service, prepared)

    waits = any(video is not None for _, video in questions)
    queries = await run_sync(ask, limiter=None if waits else service.rankings)
    if waits and service.worker is not None:
        service.worker.wake()
    return queries


async def _waited(
    service: Context, queries: list[Query], prefer: list[str] | None, headers: dict[str, str]
) -> list[Query]:
    """The queries after the time that the caller asked to wait; `headers` gets that time."""
    wait = wait_seconds(prefer or [], most=service.settings.max_wait_seconds)
    if wait is None:
        return queries
    headers["preference-applied"] = f"wait={wait}"
    if all(query.status not in UNFINISHED for query in queries):
        return queries
    with anyio.move_on_after(wait):
        for query in queries:
            async for _ in service.following.follow(query):
                pass  # until it is finished, or the service is to end
    return [await run_sync(_again, service, query) for query in queries]


def _again(service: Context, query: Query) -> Query:
    """The query as it is now; as it was, where it has been forgotten meanwhile."""
    with service.database.reading() as session:
        record = QueryRepository(session).get(query.id)
        return query if record is None else full(session, record, service.shown)
