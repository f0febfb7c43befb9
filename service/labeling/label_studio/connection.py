"""Label Studio's HTTP API, as far as the service uses it; errors in words for people.

Neither tokens nor bodies are logged, or shown in errors: the bodies of projects hold secrets of theirs.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Literal, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from motiontrace.service.settings import ServiceSettings

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
IMPORT_TIMEOUT = httpx.Timeout(300.0, connect=5.0)  # a batch, on a busy server
ACCESS_SECONDS = 240.0  # an access token lives 300 s
MAX_ANSWER_BYTES = 128 << 20
MAX_DETAIL = 600  # characters of what Label Studio says that are shown
PAGE = 500  # tasks
ANNOTATED_PAGE = 100  # tasks with their annotations, each of which may be long
LEGACY_TOKEN = re.compile(r"[0-9a-f]{40}", re.IGNORECASE)
PERSONAL_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

Json = dict[str, Any]
Fields = dict[str, str]
# Names of both the tasks' and their annotations' fields: Label Studio leaves out of either what is not among them.
ANNOTATED: Fields = {
    "fields": "all",
    "include": "id,project,data,annotations,result,was_cancelled,ground_truth,completed_by,created_at,updated_at",
}
Code = Literal[
    "label_studio_unreachable", "label_studio_token", "label_studio_refused", "label_studio_unreadable"
]  # fmt: skip


class LabelStudioError(Exception):
    """A call of Label Studio failed; its text says what happened and what to do.

    Attributes:
        code: label_studio_unreachable (no answer, or none of a Label Studio), label_studio_token (it does not take the
            token), label_studio_refused (it answered that it will not), label_studio_unreadable (what it sent of a task
            is not as a Label Studio writes it).
        happened: a sentence for people.
        todo: another.
        status: of the answer; None where there was none, or none of a Label Studio.
        detail: what Label Studio itself said, shortened; empty where it said nothing.
    """

    def __init__(self, code: Code, happened: str, todo: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(f"{happened} {todo}")
        self.code, self.happened, self.todo, self.status, self.detail = code, happened, todo, status, detail


class LabelStudio:
    """A Label Studio server. Threads may share it; close it at the end.

    Every call raises LabelStudioError where it does not succeed. Nothing is sent twice, but for a call whose access
    token was no longer taken.
    """

    def __init__(self, url: str, token: str) -> None:
        """Connect at the first call.

        Args:
            url: its address as this machine reaches it; it may have a path.
            token: a personal access token (a JWT refresh token) or a legacy token (40 hex digits).
        """
        self.url = url.rstrip("/")  # as LabelStudioProjectRecord.server has it
        # Without its cookies: a session of the browser's kind would be begun with every call.
        cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT, cookies=cookies, follow_redirects=False)
        self._token = token
        self._access: str | None = None  # of a personal access token
        self._renew_at = 0.0  # of time.monotonic()
        self._renewing = threading.Lock()

    def __repr__(self) -> str:
        return f"LabelStudio({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def project(self, project: int) -> Json | None:
        """A project with its `title`, `label_config` and `parsed_label_config`; None: there is none."""
        return self._found("GET", f"/api/projects/{project}/")

    def create_project(self, **fields: Any) -> Json:
        """Make a project; the fields are those of Label Studio (`title`, `label_config`, ...)."""
        return self._document("POST", "/api/projects/", json=fields)

    def tasks(self, project: int) -> Iterator[Json]:
        """A project's tasks by number: `id` and `data`, without annotations."""
        return self._all(project, PAGE, {"fields": "task_only", "include": "id,data"})

    def export(self, project: int) -> Iterator[Json]:
        """All tasks of a project as `task` gives them, those without annotations included.

        Label Studio's own export would leave a file on its disk each time.
        """
        return self._all(project, ANNOTATED_PAGE, ANNOTATED)

    def task(self, task: int) -> Json | None:
        """A task with its `project`, `data` and `annotations`; None: there is none.

        An annotation has `id`, `result`, `was_cancelled`, `ground_truth`, `completed_by` (the user's number, or None),
        `created_at` and `updated_at`. Skipped ones are among them.
        """
        found = self._found("GET", f"/api/tasks/{task}/", params={"resolve_uri": "false"})
        return None if found is None else _plain(found)

    def tasks_of(self, project: int, tasks: Sequence[int]) -> Iterator[Json]:
        """Those of these tasks that the project has, as `task` gives them, in the order of their numbers."""
        for start in range(0, len(tasks), ANNOTATED_PAGE):
            missing = list(tasks[start : start + ANNOTATED_PAGE])
            while missing:
                chosen = {"all": False, "included": missing}
                page, total = self._page(project, ANNOTATED_PAGE, {"selectedItems": chosen}, ANNOTATED)
                yield from page
                if not page or len(page) >= total:
                    break
                last = page[-1]["id"]
                missing = [task for task in missing if task > last]

    def import_tasks(self, project: int, tasks: Sequence[Json]) -> list[int]:
        """Make tasks, each with `data` and `predictions`, and give their numbers in the same order.

        Not idempotent: the same tasks sent again are made again.
        """
        path = f"/api/projects/{project}/import"
        made = self._document(
            "POST", path, params={"return_task_ids": "true"}, json=list(tasks), timeout=IMPORT_TIMEOUT
        )
        numbers = made.get("task_ids", [])
        if len(numbers) != len(tasks):  # the Enterprise edition imports later and tells no numbers
            raise self._unexpected(f"imported {len(numbers)} tasks of {len(tasks)}")
        return [int(number) for number in numbers]

    def update_task(self, task: int, data: Json) -> None:
        """Replace a task's whole data."""
        self._document("PATCH", f"/api/tasks/{task}/", json={"data": data})

    def users(self) -> dict[int, str]:
        """The e-mail addresses of the server's people by their number."""
        return {int(user["id"]): str(user["email"]) for user in self._list("/api/users/")}

    def webhooks(self, project: int) -> list[Json]:
        """The webhooks of a project: `id`, `url`, `headers`, `actions`, `is_active`, ..."""
        return self._list("/api/webhooks/", project=project)

    def create_webhook(self, project: int, **fields: Any) -> Json:
        """Make a webhook of a project (`url`, `headers`, `actions`, ...)."""
        return self._document("POST", "/api/webhooks/", json={"project": project, **fields})

    def update_webhook(self, webhook: int, **fields: Any) -> Json:
        """Change a webhook; without `actions` Label Studio takes them all away."""
        return self._document("PATCH", f"/api/webhooks/{webhook}/", json=fields)

    def delete_webhook(self, webhook: int) -> None:
        """Delete a webhook; one that is not there is none the less gone."""
        self._call("DELETE", f"/api/webhooks/{webhook}/")

    def _all(self, project: int, page_size: int, fields: Fields) -> Iterator[Json]:
        """Tasks in pages, each from behind the last task of the one before: none is missed where others are deleted."""
        last = 0
        while True:
            behind = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            page, total = self._page(project, page_size, {"filters": {"conjunction": "and", "items": [behind]}}, fields)
            yield from page
            if not page or len(page) >= total:
                return
            last = page[-1]["id"]

    def _page(self, project: int, page_size: int, chosen: Json, fields: Fields) -> tuple[list[Json], int]:
        """The first of the chosen tasks by number, and how many are chosen in all.

        A server may give fewer than `page_size`: its TASK_API_PAGE_SIZE_MAX is a limit that it does not tell of.
        """
        query = json.dumps({**chosen, "ordering": ["tasks:id"]})
        parameters = {"project": project, "page": 1, "page_size": page_size, "resolve_uri": "false", "query": query}
        page = self._document("GET", "/api/tasks/", params={**parameters, **fields})
        return [_plain(task) for task in page["tasks"]], int(page["total"])

    def _document(self, method: str, path: str, **sent: Any) -> Json:
        document = self._found(method, path, **sent)
        if document is None:
            raise self._nothing_at(path)
        return document

    def _found(self, method: str, path: str, **sent: Any) -> Json | None:
        """A document, or None where Label Studio says that there is none."""
        answer = self._call(method, path, **sent)
        if answer is not None and not isinstance(answer, dict):
            raise self._unexpected(f"sent a {type(answer).__name__} for {path}")
        return answer

    def _list(self, path: str, **parameters: Any) -> list[Json]:
        answer = self._call("GET", path, params=parameters)
        if not isinstance(answer, list):
            raise self._unexpected(f"sent no list for {path}")
        return answer

    def _call(self, method: str, path: str, **sent: Any) -> Any:
        """What the answer's JSON holds; None where Label Studio says that there is no such thing."""
        status, body = self._send(method, path, self._authorization(), **sent)
        if status == httpx.codes.UNAUTHORIZED and not LEGACY_TOKEN.fullmatch(self._token):
            status, body = self._send(method, path, self._authorization(renew=True), **sent)
        if status == httpx.codes.NOT_FOUND:
            # Another server's, or a proxy's, is no word about a project or task.
            if not _says_none(body):
                raise self._nothing_at(path)
            return None
        return self._read(method, path, status, body)

    def _read(self, method: str, path: str, status: int, body: bytes) -> Any:
        """What the answer's JSON holds, where it is a success."""
        if status == httpx.codes.UNAUTHORIZED:
            raise self._token_refused(_detail(body))
        if 300 <= status < 400:
            raise self._unexpected(f"answered {method} {path} with a redirection ({status})")
        if status >= 400:
            detail = _detail(body)
            raise LabelStudioError(
                "label_studio_refused",
                f"Label Studio at {self.url} answered {method} {path} with {status}{_because(detail)}",
                "Correct what it names; its own log tells more.",
                status=status,
                detail=detail,
            )
        try:
            return json.loads(body or b"null")
        except ValueError as error:
            raise self._unexpected(f"sent no JSON for {path}") from error

    def _send(self, method: str, path: str, authorization: str | None, **sent: Any) -> tuple[int, bytes]:
        headers = {} if authorization is None else {"authorization": authorization}
        try:
            with self._http.stream(method, path, headers=headers, **sent) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise self._unexpected(f"sent more than {MAX_ANSWER_BYTES:,} bytes for {path}")
                return response.status_code, bytes(body)
        except (httpx.RequestError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise LabelStudioError(
                "label_studio_unreachable",
                f"No answer from Label Studio at {self.url} ({error or type(error).__name__}).",
                "See that it is running, and that MOTIONTRACE_LABEL_STUDIO_URL is its address as this machine reaches "
                "it.",
            ) from error

    def _authorization(self, *, renew: bool = False) -> str:
        if LEGACY_TOKEN.fullmatch(self._token):
            return f"Token {self._token}"
        if not PERSONAL_TOKEN.fullmatch(self._token):
            raise self._token_refused("It is neither a personal access token nor a legacy token of 40 hex digits.")
        with self._renewing:
            if renew or self._access is None or time.monotonic() >= self._renew_at:
                asked_at = time.monotonic()
                path = "/api/token/refresh/"
                status, body = self._send("POST", path, None, json={"refresh": self._token})
                given = self._read("POST", path, status, body)
                if not isinstance(given, dict) or not isinstance(given.get("access"), str):
                    raise self._unexpected(f"sent no access token for {path}")
                self._access, self._renew_at = given["access"], asked_at + ACCESS_SECONDS
            return f"Bearer {self._access}"

    def _token_refused(self, detail: str) -> LabelStudioError:
        return LabelStudioError(
            "label_studio_token",
            f"Label Studio at {self.url} does not take the token{_because(detail)}",
            "Make a personal access token there, under Account & Settings, and put it into "
            "MOTIONTRACE_LABEL_STUDIO_TOKEN; a legacy token has to be allowed under Organization first.",
            status=int(httpx.codes.UNAUTHORIZED),
            detail=detail,
        )

    def _nothing_at(self, path: str) -> LabelStudioError:
        return LabelStudioError(
            "label_studio_refused",
            f"Label Studio at {self.url} has nothing at {path} (404).",
            "See whether it was deleted there, or belongs to an organisation that the token's owner is not in; and "
            "that MOTIONTRACE_LABEL_STUDIO_URL is Label Studio's address.",
            status=int(httpx.codes.NOT_FOUND),
        )

    def _unexpected(self, what: str) -> LabelStudioError:
        return LabelStudioError(
            "label_studio_unreachable",
            f"The server at {self.url} {what}, not as a Label Studio does.",
            "MOTIONTRACE_LABEL_STUDIO_URL must be the address at which Label Studio answers itself.",
        )


def connect(settings: ServiceSettings) -> LabelStudio | None:
    """The server that the settings name; None where they name none, or no token for it."""
    if settings.label_studio_url is None or settings.label_studio_token is None:
        return None
    return LabelStudio(settings.label_studio_url, settings.label_studio_token.get_secret_value())


def _says_none(body: bytes) -> bool:
    """Whether an answer 404 is Label Studio's own, in its form of errors."""
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("status_code") == httpx.codes.NOT_FOUND


def _plain(task: Json) -> Json:
    """A task whose annotations name who made them by number alone, as lists of tasks do."""
    for annotation in task.get("annotations") or ():
        author = annotation.get("completed_by")
        if isinstance(author, dict):
            annotation["completed_by"] = author.get("id")
    return task


def _because(detail: str) -> str:
    """The end of a sentence."""
    return f": {detail.rstrip('.')}." if detail else ", and does not say why."


def _detail(body: bytes) -> str:
    """What an error says, shortened and without the data that it quotes."""
    try:
        told = json.loads(body)
    except ValueError:
        return ""  # a page for browsers
    if not isinstance(told, dict):
        return ""
    faults = told.get("validation_errors")
    parts = []
    for field, messages in faults.items() if isinstance(faults, dict) else ():
        for message in messages if isinstance(messages, list) else [messages]:
            text = str(message).partition(" :: ")[0]
            parts.append(text if field == "non_field_errors" else f"{field}: {text}")
    text = ": ".join(part for part in (str(told.get("detail") or ""), "; ".join(parts)) if part)
    return text if len(text) <= MAX_DETAIL else f"{text[: MAX_DETAIL - 3]}..."
