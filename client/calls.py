"""Every call of the service, described once: what is sent, how the answer is read, whether it may be sent again."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import urlencode

import httpx

from motiontrace.client.errors import read_document
from motiontrace.documents import links
from motiontrace.documents.clips import Clip, ClipOutcome, ClipPage
from motiontrace.documents.indexes import Index, IndexList, IndexSummary
from motiontrace.documents.label_studio import (
    KnownProject,
    KnownProjects,
    PulledProject,
    PushedProject,
)
from motiontrace.documents.labels import Labels
from motiontrace.documents.queries import Query, QueryList, QueryPage, RankingPage, Status
from motiontrace.documents.questions import ClipQuestion, VideoQuestion
from motiontrace.files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from motiontrace.documents.filters import Decision, Filter
    from motiontrace.documents.label_studio import Motion
    from motiontrace.documents.regions import Box, TimeRange

T = TypeVar("T")
Page = TypeVar("Page", QueryPage, RankingPage, ClipPage)
End = Literal["top", "bottom"]
ExportEnd = Literal["top", "bottom", "both"]
Repeat = Literal["always", "unprocessed", "never"]
PAGE = 200  # the most that a page holds
LABEL_STUDIO = "/v1/labeling/label-studio/projects"
SLOW = 1800  # seconds: tens of thousands of tasks


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call.

    Attributes:
        method: of HTTP.
        path: with its query string.
        read: gives the result from an answer that is a success and has been read.
        repeat: whether it may be sent again: always, where the service certainly did not process it, or never.
        headers: beside those of every call.
        wait: seconds that the service is asked to hold the call open.
        slow: seconds that the service may take beyond the usual.
        body: sent as JSON; None: it has none.
        form: text fields of a form.
        files: files of a form, by field; sent as they are read.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    repeat: Repeat = "always"
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: int = 0
    slow: int = 0
    body: Any = None
    form: Mapping[str, str] | None = None
    files: Mapping[str, Path] = field(default_factory=dict)

    @contextmanager
    def request(self, http: httpx.Client | httpx.AsyncClient, timeout: float) -> Iterator[httpx.Request]:
        """The call as `http` sends it, with its files open; `timeout`: seconds without a byte, beyond `wait`."""
        with ExitStack() as stack:
            files = {
                name: (path.name, stack.enter_context(open_file(path, empty=True))) for name, path in self.files.items()
            }
            prefer = {"prefer": f"wait={self.wait}"} if self.wait else {}
            yield http.build_request(
                self.method,
                self.path,
                headers={**self.headers, **prefer},
                json=self.body,
                data=self.form,
                files=files or None,
                # A free connection comes in time.
                timeout=httpx.Timeout(timeout, read=timeout + self.wait + self.slow, pool=None),
            )


def submit(question: VideoQuestion | ClipQuestion, wait: int) -> Call[Query]:
    """POST /v1/queries."""
    post = partial(Call, "POST", "/v1/queries", partial(read_document, Query), "unprocessed", wait=wait)
    if isinstance(question, ClipQuestion):
        return post(body=question.fields())
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in question.fields().items()}
    return post(form=form, files={"video": question.video})


def submit_many(questions: Sequence[VideoQuestion | ClipQuestion], wait: int) -> Call[list[Query]]:
    """POST /v1/queries/batch."""
    fields, files = [], {}
    for number, question in enumerate(questions):
        if isinstance(question, VideoQuestion):
            files[f"video-{number}"] = question.video
            fields.append(question.fields() | {"video": f"video-{number}"})
        else:
            fields.append(question.fields())

    def read(response: httpx.Response) -> list[Query]:
        return read_document(QueryList, response).queries

    post = partial(Call, "POST", "/v1/queries/batch", read, "unprocessed", wait=wait)
    return post(form={"queries": json.dumps(fields)}, files=files) if files else post(body={"queries": fields})


def query(query_id: str) -> Call[Query]:
    """GET /v1/queries/{query_id}."""
    return Call("GET", links.query(query_id), partial(read_document, Query))


def queries(status: Status | None, index: str | None) -> Call[QueryPage]:
    """GET /v1/queries."""
    path = _path("/v1/queries", status=status, index=index, limit=PAGE)
    return Call("GET", path, partial(read_document, QueryPage))


def delete(query_id: str) -> Call[None]:
    """DELETE /v1/queries/{query_id}; a repetition would forget what the first has cancelled."""
    return Call("DELETE", links.query(query_id), _nothing, "unprocessed")


def events(query_id: str) -> Call[None]:
    """GET /v1/queries/{query_id}/events; the answer is read by EventDecoder."""
    return Call("GET", f"{links.query(query_id)}/events", _nothing, headers={"accept": "text/event-stream"})


def ranking(query_id: str, end: End, filter: Filter | None) -> Call[RankingPage]:
    """GET /v1/queries/{query_id}/clips."""
    path = _path(f"{links.query(query_id)}/clips", filter, end=end, limit=PAGE)
    return Call("GET", path, partial(read_document, RankingPage))


def export(query_id: str, format: str, end: ExportEnd, limit: int | None, filter: Filter | None) -> Call[None]:
    """GET /v1/queries/{query_id}/export; the answer is a file."""
    path = _path(f"{links.query(query_id)}/export", filter, format=format, end=end, limit=limit)
    return Call("GET", path, _nothing)


def clips(index: str | None, outcome: ClipOutcome | None, text: str | None, filter: Filter | None) -> Call[ClipPage]:
    """GET /v1/clips."""
    path = _path("/v1/clips", filter, index=index, outcome=outcome, text=text, limit=PAGE)
    return Call("GET", path, partial(read_document, ClipPage))


def behind(page: Page, call: Call[Page]) -> Call[Page] | None:
    """The call for the page behind `page`, which `call` gave; None: it was the last."""
    return None if page.next is None else Call("GET", page.next, call.read)


def clip(clip_id: str) -> Call[Clip]:
    """GET /v1/clips/{clip_id}."""
    return Call("GET", links.clip(clip_id), partial(read_document, Clip))


def video(clip_id: str) -> Call[None]:
    """GET /v1/clips/{clip_id}/video; the answer is a file."""
    return Call("GET", links.video(clip_id), _nothing)


def thumbnail(clip_id: str) -> Call[bytes]:
    """GET /v1/clips/{clip_id}/thumbnail."""

    def read(response: httpx.Response) -> bytes:
        return response.content

    return Call("GET", links.thumbnail(clip_id), read)


def labels(clip_id: str) -> Call[Labels]:
    """GET /v1/clips/{clip_id}/labels."""
    return Call("GET", f"{links.clip(clip_id)}/labels", partial(read_document, Labels))


def label(
    clip_id: str,
    verdict: str | None,
    decision: Decision | None,
    note: str,
    author: str,
    tool: str,
    ranges: Sequence[TimeRange],
    boxes: Sequence[Box],
) -> Call[Labels]:
    """PUT /v1/clips/{clip_id}/labels."""
    body = {
        "verdict": verdict,
        "decision": decision,
        "note": note,
        "author": author,
        "tool": tool,
        "ranges": [each.model_dump(mode="json") for each in ranges],
        "boxes": [each.model_dump(mode="json") for each in boxes],
    }
    return Call("PUT", f"{links.clip(clip_id)}/labels", partial(read_document, Labels), body=body)


def push_to_label_studio(
    queries: Sequence[str],
    top: int,
    bottom: int,
    title: str,
    project: int | None,
    verdicts: Sequence[str],
    motion: Motion | None,
    filter: Filter | None,
) -> Call[PushedProject]:
    """POST /v1/labeling/label-studio/projects."""
    body = {
        "queries": list(queries),
        "top": top,
        "bottom": bottom,
        "title": title,
        "project": project,
        "verdicts": list(verdicts),
        "motion": motion,
        "filter": None if filter is None else filter.model_dump(mode="json", exclude_defaults=True),
    }
    return Call("POST", LABEL_STUDIO, partial(read_document, PushedProject), "unprocessed", slow=SLOW, body=body)


def label_studio_projects() -> Call[list[KnownProject]]:
    """GET /v1/labeling/label-studio/projects."""

    def read(response: httpx.Response) -> list[KnownProject]:
        return read_document(KnownProjects, response).projects

    return Call("GET", LABEL_STUDIO, read)


def pull_from_label_studio(project: int) -> Call[PulledProject]:
    """POST /v1/labeling/label-studio/projects/{project}/pull."""
    read = partial(read_document, PulledProject)
    return Call("POST", f"{LABEL_STUDIO}/{project}/pull", read, "unprocessed", slow=SLOW)


def indexes() -> Call[list[IndexSummary]]:
    """GET /v1/indexes."""

    def read(response: httpx.Response) -> list[IndexSummary]:
        return read_document(IndexList, response).indexes

    return Call("GET", "/v1/indexes", read)


def index(name: str) -> Call[Index]:
    """GET /v1/indexes/{name}."""
    return Call("GET", links.index(name), partial(read_document, Index))


def ready() -> Call[None]:
    """GET /readyz; that it is not ready is an answer, not a reason to ask again."""
    return Call("GET", "/readyz", _nothing, "never")


def _nothing(response: httpx.Response) -> None:
    """For calls whose success is all that is asked."""


def _path(path: str, filter: Filter | None = None, **parameters: Any) -> str:
    pairs = [(name, str(value)) for name, value in parameters.items() if value is not None]
    pairs += [] if filter is None else filter.to_query_string()
    return f"{path}?{urlencode(pairs)}" if pairs else path
