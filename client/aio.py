"""The client for asyncio. The client without it, sync.py, is made of this module: `python -m tests.client.twin`."""

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
    """The calls of one service. Use it as a context manager, or await close(). Tasks may share it.

    What lists is iterated over with async for.

    Every call raises ServiceError when it does not succeed. Where repeating is safe, it is sent again first, `retries`
    times at most. The pauses grow (0.5 s, 1 s, 2 s), or are what the service asks for.

    - Calls that read or set a label: when the connection failed, or the answer was 429, 502, 503 or 504.
    - Calls that ask, cancel or forget: only when they certainly were not processed. No connection was made, or the
      answer was 429, or 503 because the queue was full or the service was ending.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 3) -> None:
        """Connect at the first call.

        Args:
            url: as in http://HOST:PORT.
            api_key: sent with every call; None: what MOTIONTRACE_API_KEY holds, if anything.
            timeout: seconds without a byte after which a call has failed.
            retries: how often a call is sent again at most, >= 0.
        """
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
        """Ask which clips taught the motion of `video`, generated from `prompt`, and wait for the answer.

        What `precondition` and `damping` are, VideoQuestion says.

        Returns a query whose status is "done" (see its outcome), "failed" (see its error) or "cancelled". `on_event`
        is called with it whenever its status, stage or place in line changes, the last time when it has ended.

        Raises:
            ServiceError: refused, or not finished within `timeout` seconds.
            OSError: the video cannot be read.
        """
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
        """Send a query; returns at once, or when it is finished, after `wait` seconds at the latest."""
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
        """Ask which clips move like this one; the query that is returned is finished."""
        question = ClipQuestion(clip_id, k=k, index=index, filter=filter, precondition=precondition, damping=damping)
        return await self._call(calls.submit(question, 0))

    async def ask_many(
        self,
        questions: Sequence[VideoQuestion | ClipQuestion],
        *,
        timeout: float = 600.0,
        on_event: Callable[[Query], None] | None = None,
    ) -> list[Query]:
        """Ask several questions in one call, at most 64, and wait for all answers; they come in the same order.

        `on_event` is called with one query after the other. Raises as `ask`. Where one question is refused, none is
        asked.
        """
        deadline = Deadline(timeout)
        asked = await self._call(calls.submit_many(questions, 0), until=deadline.at)
        return [await self._wait(Wait(query, deadline, on_event)) for query in asked]

    async def submit_many(self, questions: Sequence[VideoQuestion | ClipQuestion], *, wait: int = 0) -> list[Query]:
        """Send several questions in one call, all or none; returns as `submit` does."""
        return await self._call(calls.submit_many(questions, wait))

    async def wait(
        self, query: Query, *, timeout: float = 600.0, on_event: Callable[[Query], None] | None = None
    ) -> Query:
        """Wait until `query` is done, failed or cancelled; `on_event` as in `ask`.

        Raises:
            ServiceError: it was not finished within `timeout` seconds, or the service was lost; names the query.
        """
        return await self._wait(Wait(query, Deadline(timeout), on_event))

    async def events(self, query_id: str) -> AsyncIterator[tuple[str, Query]]:
        """A query's progress as it happens, from where it is now until it has ended.

        Each event has a name, queued, loading, decoding, motion, gradient, scoring, done, failed or cancelled, and the
        query as it is then. Raises ServiceError where the stream breaks off; it may be asked for again.
        """
        async with aclosing(self._events(query_id)) as portions:
            async for events in portions:
                for event in events:
                    yield event

    async def query(self, query_id: str) -> Query:
        """Read a query with its result so far."""
        return await self._call(calls.query(query_id))

    async def queries(self, *, status: Status | None = None, index: str | None = None) -> AsyncIterator[QuerySummary]:
        """Queries, newest first, fetched page by page."""
        async for page in self._pages(calls.queries(status, index)):
            for each in page.queries:
                yield each

    async def delete(self, query_id: str) -> None:
        """Cancel a query that is not finished; forget one that has ended, together with its video."""
        await self._call(calls.delete(query_id))

    async def ranking(self, query_id: str, *, end: End = "top", filter: Filter | None = None) -> AsyncIterator[Hit]:
        """The whole ranking of a query that is done, from either end, fetched page by page.

        `filter` holds beside the query's own.
        """
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
        """Write the ranking of a query that is done to `path`, or the first `limit` clips of an end or of both.

        As a table, or with the videos as a zip file for "fiftyone" or "cvat", which `unpack` makes a folder of; without
        `limit` that has 100 clips of an end. Without `format` the suffix of `path` says which table: .csv, .jsonl or
        .parquet; else ValueError.
        """
        await self._save(calls.export(query_id, format or format_of(path), end, limit, filter), path)

    async def clips(
        self,
        *,
        index: str | None = None,
        outcome: ClipOutcome | None = None,
        text: str | None = None,
        filter: Filter | None = None,
    ) -> AsyncIterator[ListedClip]:
        """Clips by id, fetched page by page; `text` is looked for in captions, `outcome` needs an index."""
        async for page in self._pages(calls.clips(index, outcome, text, filter)):
            for each in page.clips:
                yield each

    async def clip(self, clip_id: str) -> Clip:
        """Read a clip and what became of it in each index."""
        return await self._call(calls.clip(clip_id))

    async def save_video(self, clip_id: str, path: Path) -> None:
        """Write a clip's video file to `path`."""
        await self._save(calls.video(clip_id), path)

    async def thumbnail(self, clip_id: str) -> bytes:
        """A JPEG still of a clip."""
        return await self._call(calls.thumbnail(clip_id))

    async def labels(self, clip_id: str) -> Labels:
        """What reviewers say of a clip, and said before."""
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
        """Say what holds of a clip from now on.

        `ranges` mark parts of its time, `boxes` things in its picture. With neither verdict nor decision, range nor
        box its label is withdrawn.
        """
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
        """Let reviewers see clips of both ends of queries' rankings in a project of Label Studio.

        `top` and `bottom` are how many of each ranking, 0 to 500; `title` names the project, of which a new one
        offers `verdicts` to choose from; `project` is Label Studio's number of one to take instead. `motion`,
        that of the queries' videos, decides what is suggested; `filter` holds beside the queries' own. Repeated, it
        makes no task twice. Thousands of clips take minutes.
        """
        return await self._call(
            calls.push_to_label_studio(queries, top, bottom, title, project, verdicts, motion, filter)
        )

    async def label_studio_projects(self) -> list[KnownProject]:
        """The projects of Label Studio that clips were pushed to, the oldest first."""
        return await self._call(calls.label_studio_projects())

    async def pull_from_label_studio(self, project: int) -> PulledProject:
        """Take over as labels what reviewers have said in a project, by Label Studio's number of it."""
        return await self._call(calls.pull_from_label_studio(project))

    async def indexes(self) -> list[IndexSummary]:
        """All indexes, by name."""
        return await self._call(calls.indexes())

    async def index(self, name: str) -> Index:
        """Read an index with its recipe."""
        return await self._call(calls.index(name))

    async def check_ready(self) -> None:
        """Return if the service can answer queries; ServiceError says why not."""
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
