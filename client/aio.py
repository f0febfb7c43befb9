"""The client for asyncio: sync.py with await. Client documents the calls."""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import httpx

from motiontrace.client import calls
from motiontrace.client.connection import format_of, http_options, replacing
from motiontrace.client.errors import ServiceError, broken_off, refused, shown, unreached
from motiontrace.client.events import EventDecoder
from motiontrace.client.retries import Attempts
from motiontrace.client.waiting import POLL_SECONDS, Deadline, Wait
from motiontrace.documents.label_studio import TITLE, VERDICTS
from motiontrace.documents.questions import ClipQuestion, VideoQuestion

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from motiontrace.client.calls import Call, End, ExportEnd, Page
    from motiontrace.documents.clips import Clip, ClipOutcome, ListedClip
    from motiontrace.documents.filters import Decision, Filter
    from motiontrace.documents.indexes import Index, IndexSummary
    from motiontrace.documents.label_studio import KnownProject, Motion, PulledProject, PushedProject
    from motiontrace.documents.labels import Labels
    from motiontrace.documents.queries import Hit, Query, QuerySummary, Status
    from motiontrace.documents.regions import Box, TimeRange
    from motiontrace.preconditions import Precondition

T = TypeVar("T")


class AsyncClient:
    """The calls of one service, as Client has them. Use it as a context manager, or await close(). Tasks may share it.

    Files are read and written in portions, and what lists is iterated over with async for.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 3) -> None:
        """As Client's."""
        self._http = httpx.AsyncClient(**http_options(url, api_key, timeout))
        self._timeout, self._retries = timeout, retries

    def __repr__(self) -> str:
        return f"AsyncClient({shown(self._http.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(
        self,
        video: Path,
        prompt: str,
        *,
        k: int = 10,
        index: str | None = None,
        filter: Filter | None = None,
        precondition: Precondition = "none",
        damping: float | None = None,
        timeout: float = 600.0,
        on_event: Callable[[Query], None] | None = None,
    ) -> Query:
        """As Client.ask."""
        deadline = Deadline(timeout)
        question = VideoQuestion(
            video, prompt, k=k, index=index, filter=filter, precondition=precondition, damping=damping
        )
        asked = await self._call(calls.submit(question, 0), until=deadline.at)
        return await self._wait(Wait(asked, deadline, on_event))

    async def submit(
        self,
        video: Path,
        prompt: str,
        *,
        k: int = 10,
        index: str | None = None,
        filter: Filter | None = None,
        precondition: Precondition = "none",
        damping: float | None = None,
        wait: int = 0,
    ) -> Query:
        """As Client.submit."""
        question = VideoQuestion(
            video, prompt, k=k, index=index, filter=filter, precondition=precondition, damping=damping
        )
        return await self._call(calls.submit(question, wait))

    async def more_like(
        self,
        clip_id: str,
        *,
        k: int = 10,
        index: str | None = None,
        filter: Filter | None = None,
        precondition: Precondition = "none",
        damping: float | None = None,
    ) -> Query:
        """As Client.more_like."""
        question = ClipQuestion(clip_id, k=k, index=index, filter=filter, precondition=precondition, damping=damping)
        return await self._call(calls.submit(question, 0))

    async def ask_many(
        self,
        questions: Sequence[VideoQuestion | ClipQuestion],
        *,
        timeout: float = 600.0,
        on_event: Callable[[Query], None] | None = None,
    ) -> list[Query]:
        """As Client.ask_many."""
        deadline = Deadline(timeout)
        asked = await self._call(calls.submit_many(questions, 0), until=deadline.at)
        return [await self._wait(Wait(query, deadline, on_event)) for query in asked]

    async def submit_many(self, questions: Sequence[VideoQuestion | ClipQuestion], *, wait: int = 0) -> list[Query]:
        """As Client.submit_many."""
        return await self._call(calls.submit_many(questions, wait))

    async def wait(
        self, query: Query, *, timeout: float = 600.0, on_event: Callable[[Query], None] | None = None
    ) -> Query:
        """As Client.wait."""
        return await self._wait(Wait(query, Deadline(timeout), on_event))

    async def events(self, query_id: str) -> AsyncIterator[tuple[str, Query]]:
        """As Client.events."""
        async with aclosing(self._events(query_id)) as portions:
            async for events in portions:
                for event in events:
                    yield event

    async def query(self, query_id: str) -> Query:
        """As Client.query."""
        return await self._call(calls.query(query_id))

    async def queries(self, *, status: Status | None = None, index: str | None = None) -> AsyncIterator[QuerySummary]:
        """As Client.queries."""
        async for page in self._pages(calls.queries(status, index)):
            for each in page.queries:
                yield each

    async def delete(self, query_id: str) -> None:
        """As Client.delete."""
        await self._call(calls.delete(query_id))

    async def ranking(self, query_id: str, *, end: End = "top", filter: Filter | None = None) -> AsyncIterator[Hit]:
        """As Client.ranking."""
        async for page in self._pages(calls.ranking(query_id, end, filter)):
            for each in page.clips:
                yield each

    async def export(
        self,
        query_id: str,
        path: Path,
        *,
        format: str | None = None,
        end: ExportEnd = "top",
        limit: int | None = None,
        filter: Filter | None = None,
    ) -> None:
        """As Client.export."""
        await self._save(calls.export(query_id, format or format_of(path), end, limit, filter), path)

    async def clips(
        self,
        *,
        index: str | None = None,
        outcome: ClipOutcome | None = None,
        text: str | None = None,
        filter: Filter | None = None,
    ) -> AsyncIterator[ListedClip]:
        """As Client.clips."""
        async for page in self._pages(calls.clips(index, outcome, text, filter)):
            for each in page.clips:
                yield each

    async def clip(self, clip_id: str) -> Clip:
        """As Client.clip."""
        return await self._call(calls.clip(clip_id))

    async def save_video(self, clip_id: str, path: Path) -> None:
        """As Client.save_video."""
        await self._save(calls.video(clip_id), path)

    async def thumbnail(self, clip_id: str) -> bytes:
        """As Client.thumbnail."""
        return await self._call(calls.thumbnail(clip_id))

    async def labels(self, clip_id: str) -> Labels:
        """As Client.labels."""
        return await self._call(calls.labels(clip_id))

    async def label(
        self,
        clip_id: str,
        *,
        verdict: str | None = None,
        decision: Decision | None = None,
        note: str = "",
        author: str = "",
        tool: str = "api",
        ranges: Sequence[TimeRange] = (),
        boxes: Sequence[Box] = (),
    ) -> Labels:
        """As Client.label."""
        return await self._call(calls.label(clip_id, verdict, decision, note, author, tool, ranges, boxes))

    async def push_to_label_studio(
        self,
        queries: Sequence[str],
        *,
        top: int = 10,
        bottom: int = 10,
        title: str = TITLE,
        project: int | None = None,
        verdicts: Sequence[str] = VERDICTS,
        motion: Motion | None = None,
        filter: Filter | None = None,
    ) -> PushedProject:
        """As Client.push_to_label_studio."""
        return await self._call(
            calls.push_to_label_studio(queries, top, bottom, title, project, verdicts, motion, filter)
        )

    async def label_studio_projects(self) -> list[KnownProject]:
        """As Client.label_studio_projects."""
        return await self._call(calls.label_studio_projects())

    async def pull_from_label_studio(self, project: int) -> PulledProject:
        """As Client.pull_from_label_studio."""
        return await self._call(calls.pull_from_label_studio(project))

    async def indexes(self) -> list[IndexSummary]:
        """As Client.indexes."""
        return await self._call(calls.indexes())

    async def index(self, name: str) -> Index:
        """As Client.index."""
        return await self._call(calls.index(name))

    async def check_ready(self) -> None:
        """As Client.check_ready."""
        await self._call(calls.ready())

    async def _call(self, call: Call[T], *, until: float = math.inf) -> T:
        async def whole(response: httpx.Response) -> T:
            async with aclosing(response):
                await response.aread()
            return call.read(response)

        return await self._try(call, whole, until=until)

    async def _pages(self, call: Call[Page]) -> AsyncIterator[Page]:
        following: Call[Page] | None = call
        while following is not None:
            page = await self._call(following)
            yield page
            following = calls.behind(page, call)

    async def _save(self, call: Call[Any], path: Path) -> None:
        async def save(response: httpx.Response) -> None:
            async with aclosing(response), await anyio.open_file(unfinished, "wb") as file:
                async for chunk in response.aiter_bytes():
                    await file.write(chunk)

        with replacing(path) as unfinished:
            await self._try(call, save)

    async def _events(
        self, query_id: str, *, silence: float = math.inf, retries: int | None = None
    ) -> AsyncGenerator[list[tuple[str, Query]]]:
        """Events as they come, several at once or none; `silence`: seconds without a byte that end the stream."""

        async def as_it_is(response: httpx.Response) -> httpx.Response:
            return response

        opened = await self._try(calls.events(query_id), as_it_is, silence=silence, retries=retries)
        decoder = EventDecoder(opened)
        async with aclosing(opened):
            try:
                async for chunk in opened.aiter_bytes():
                    yield decoder.feed(chunk)
            except httpx.RequestError as error:
                if not decoder.ended:
                    raise broken_off(opened) from error
        if not decoder.ended:
            raise broken_off(opened)

    async def _wait(self, waiting: Wait) -> Query:
        while not waiting.finished:
            waiting.check()
            try:
                await self._follow(waiting)
            except ServiceError:  # whatever it was, reading the query tells it, or the wait goes on
                await self._look(waiting)
        return waiting.query

    async def _follow(self, waiting: Wait) -> None:
        """Take events until the query has ended, or a shorter silence has to be agreed on."""
        silence = min(self._timeout, waiting.deadline.left)
        async with aclosing(self._events(waiting.query.id, silence=silence, retries=0)) as portions:
            async for events in portions:
                for _, query in events:
                    waiting.note(query)
                if waiting.finished or waiting.is_late(silence):
                    return

    async def _look(self, waiting: Wait) -> None:
        try:
            waiting.note(await self._call(calls.query(waiting.query.id), until=waiting.deadline.at))
        except ServiceError as error:
            raise waiting.lost(error) from error
        if not waiting.finished:
            await anyio.sleep(min(POLL_SECONDS, waiting.deadline.left))

    async def _try(
        self,
        call: Call[Any],
        take: Callable[[httpx.Response], Awaitable[T]],
        *,
        until: float = math.inf,
        silence: float = math.inf,
        retries: int | None = None,
    ) -> T:
        """Send a call until it succeeds, and give what `take` makes of the answer, which it has to close."""
        attempts = Attempts(call.repeat, self._retries if retries is None else retries, until)
        while True:
            try:
                with call.request(self._http, min(self._timeout, silence)) as request:
                    response = await self._http.send(request, stream=True)
                if response.is_success:
                    return await take(response)
                await response.aread()
            except httpx.RequestError as error:
                pause = attempts.pause(error)
                if pause is None:
                    raise unreached(self._http.base_url, error) from error
            else:
                pause = attempts.pause(response)
                if pause is None:
                    raise refused(response)
            await anyio.sleep(pause)
