"""A Python client of the service, on httpx; importing it loads neither torch nor FastAPI.

with Client("http://127.0.0.1:8600") as service:
    answer = service.ask(Path("generated.mp4"), "a ball bounces", k=5)
    for hit in answer.top:
        print(hit.rank, hit.score, hit.caption)
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
from pydantic import ValidationError

from service import links
from service.clips.schemas import Clip, ClipPage, ListedClip
from service.indexes.schemas import Index, IndexList, IndexSummary
from service.queries.schemas import Query, QueryPage, QuerySummary
from service.schemas import Document, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_SECONDS = 30  # how long one request is held open; longer waits are several requests
POLL_SECONDS = 0.5
Read = TypeVar("Read", bound=Document)


class ServiceError(Exception):
    """The service refused a call or could not be reached; the message says what to do.

    `problem` is what the service answered, None where it was not reached or no motiontrace service answered.
    """

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Client:
    """The calls of one service. Use it as a context manager, or call close().

    Every call raises ServiceError when it does not succeed.
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        """`url` as in http://HOST:PORT; `timeout`: seconds without a byte, beyond what a query takes."""
        self._http = httpx.Client(base_url=url, timeout=timeout)
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, video: Path, prompt: str, *, k: int = 10, index: str | None = None, timeout: float = 600.0) -> Query:
        """Ask which clips taught the motion of `video`, generated from `prompt`, and wait for the answer.

        Returns a query whose status is "done" (see its outcome) or "failed" (see its error).

        Raises:
            ServiceError: refused, or not finished within `timeout` seconds.
        """
        until = time.monotonic() + timeout
        asked = self.submit(video, prompt, k=k, index=index, wait=min(WAIT_SECONDS, int(timeout)))
        return self.wait(asked, timeout=max(0.0, until - time.monotonic()))

    def submit(self, video: Path, prompt: str, *, k: int = 10, index: str | None = None, wait: int = 0) -> Query:
        """Send a query; returns at once, or when it is finished, after `wait` seconds at the latest."""
        form = {"prompt": prompt, "k": str(k)} | ({} if index is None else {"index": index})
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        with video.open("rb") as file:
            response = self._call(
                "POST", "/v1/queries", data=form, files={"video": (video.name, file)}, headers=headers,
                timeout=self._timeout + wait,
            )  # fmt: skip
        return _read(Query, response)

    def wait(self, query: Query, *, timeout: float = 600.0) -> Query:
        """Wait until `query` is done or failed.

        Raises:
            ServiceError: it was not finished within `timeout` seconds, or the service was lost; names the query.
        """
        until = time.monotonic() + timeout
        while query.status in ("queued", "running"):
            if time.monotonic() >= until:
                raise ServiceError(
                    f"Query {query.id} is still {query.status} after {timeout:g} s. It goes on: wait longer, "
                    f"or read it later at {links.query(query.id)}."
                )
            time.sleep(POLL_SECONDS)
            try:
                query = self.query(query.id)
            except ServiceError as error:
                raise ServiceError(f"While waiting for query {query.id}: {error}", error.problem) from error
        return query

    def query(self, query_id: str) -> Query:
        """Read a query with its result so far."""
        return _read(Query, self._call("GET", links.query(query_id)))

    def queries(self) -> Iterator[QuerySummary]:
        """All queries, newest first, fetched page by page."""
        path: str | None = "/v1/queries"
        while path is not None:
            page = _read(QueryPage, self._call("GET", path))
            yield from page.queries
            path = page.next

    def clips(
        self, *, index: str | None = None, outcome: str | None = None, text: str | None = None
    ) -> Iterator[ListedClip]:
        """Clips by id, fetched page by page; `text` is looked for in captions, `outcome` needs an index."""
        wanted = {"index": index, "outcome": outcome, "text": text}
        query = {name: value for name, value in wanted.items() if value is not None}
        path: str | None = str(httpx.URL("/v1/clips", params=query))
        while path is not None:
            page = _read(ClipPage, self._call("GET", path))
            yield from page.clips
            path = page.next

    def clip(self, clip_id: str) -> Clip:
        """Read a clip and what became of it in each index."""
        return _read(Clip, self._call("GET", links.clip(clip_id)))

    def save_video(self, clip_id: str, path: Path) -> None:
        """Write a clip's video file to `path`."""
        with self._stream(links.video(clip_id)) as response, path.open("wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)

    def thumbnail(self, clip_id: str) -> bytes:
        """A JPEG still of a clip."""
        return self._call("GET", links.thumbnail(clip_id)).content

    def indexes(self) -> list[IndexSummary]:
        """All indexes, by name."""
        return _read(IndexList, self._call("GET", "/v1/indexes")).indexes

    def index(self, name: str) -> Index:
        """Read an index with its recipe."""
        return _read(Index, self._call("GET", links.index(name)))

    def check_ready(self) -> None:
        """Return if the service can answer queries; ServiceError says why not."""
        self._call("GET", "/readyz")

    def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._reached():
            return _checked(self._http.request(method, path, **request))

    @contextmanager
    def _stream(self, path: str) -> Iterator[httpx.Response]:
        with self._reached(), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
            yield _checked(response)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise ServiceError(
                f"No answer from {self._http.base_url} ({error or type(error).__name__}): is the service "
                "running there (motiontrace serve), and is the address right?"
            ) from error


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    problem = _read(Problem, response)
    raise ServiceError(f"{problem.detail} {problem.todo}", problem)


def _read(model: type[Read], response: httpx.Response) -> Read:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise ServiceError(
            f"{response.url} answered {response.status_code} {response.reason_phrase}, not as a motiontrace "
            "service does: is the address right, and is the service of this client's version?"
        ) from error
