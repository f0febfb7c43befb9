"""The progress of a query as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from motiontrace.documents.queries import Query
from motiontrace.service.context import Service
from motiontrace.service.parameters import QueryId
from motiontrace.service.problem import documented
from motiontrace.service.queries.documents import read_query

router = APIRouter(prefix="/v1/queries", tags=["queries"])


async def _asked(request: Request, service: Service, query_id: QueryId) -> AsyncIterator[Query]:
    """Find the query before the stream begins: after that no error can be sent any more."""
    with service.following.held(getattr(request.state, "key_id", None)):
        yield await run_sync(read_query, service, query_id)


@router.get(
    "/{query_id}/events",
    summary="Follow a query",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "An event at once and at each change, named queued (whenever its place in line changes), "
            "loading, decoding, motion, gradient, scoring, and at the end done, failed or cancelled. The data is the "
            "Query as JSON."
        },
        **documented(404, 422, 429),
    },
)
async def get_query_events(
    service: Service, query: Annotated[Query, Depends(_asked)]
) -> AsyncIterator[ServerSentEvent]:
    """Progress as it happens, from where the query is now.

    A connection that was lost is simply opened again. The stream ends with the query, and with the service.
    """
    async for current in service.following.follow(query):
        yield ServerSentEvent(event=_name(current), raw_data=current.model_dump_json())


def _name(query: Query) -> str:
    return query.stage or "loading" if query.status == "running" else query.status
