"""The progress of a query as server-sent events."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from catalog.repositories import QueryRepository
from service.context import Context, Service
from service.parameters import QueryId
from service.problem import documented
from service.queries.documents import full
from service.queries.endpoints import read_query
from service.queries.schemas import UNFINISHED, Query

router = APIRouter(prefix="/v1/queries", tags=["queries"])

LOOK_SECONDS = 0.2  # how often the row is looked at
MOST_SECONDS = 1.0  # and how seldom, once nothing has changed for long: a hundred may follow one queue


async def _asked(service: Service, query_id: QueryId) -> Query:
    """Find the query before the stream begins: after that no error can be told any more."""
    return await run_sync(read_query, service, query_id)


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
        **documented(404, 422),
    },
)
async def get_query_events(
    service: Service, query: Annotated[Query, Depends(_asked)]
) -> AsyncIterator[ServerSentEvent]:
    """Progress as it happens, from where the query is now; a connection that was lost is simply opened again. The
    stream ends with the query, and with the service."""
    told, since = None, time.monotonic()
    current: Query | None = query
    while current is not None:
        state = (current.status, current.stage, str(current.place))
        if state != told:
            told, since = state, time.monotonic()
            yield ServerSentEvent(event=_name(current), raw_data=current.model_dump_json())
        if current.status not in UNFINISHED or service.stopping.is_set():
            return
        await anyio.sleep(min(max(LOOK_SECONDS, (time.monotonic() - since) / 10), MOST_SECONDS))
        current = await run_sync(_now, service, query.id)


def _name(query: Query) -> str:
    return query.stage or "loading" if query.status == "running" else query.status


def _now(service: Context, query_id: str) -> Query | None:
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
        return None if query is None else full(session, query)
