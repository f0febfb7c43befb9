"""What stands in for Label Studio where a test needs faults of it, or none at hand: tests/labeling has the real one.

It knows the calls that the service makes of projects, tasks and webhooks, and answers them as Label Studio 1.23.2 does.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "0123456789abcdef0123456789abcdef01234567"
SECRET_FIELDS = {"token": "of the project", "task_data_password": None}
Json = dict[str, Any]


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"id": "1", "status_code": status, "version": "1.23.2", "detail": detail, "exc_info": None, **more}


@dataclass
class StandIn:
    """The state of a Label Studio.

    Attributes:
        refuse: asked before each call, by its name ("POST import"), and behind it ("POST import, done"); may raise.
        calls: how often each was made.
        most: tasks of a page, as TASK_API_PAGE_SIZE_MAX; None: as many as are asked for.
    """

    url: str = ""
    projects: dict[int, Json] = field(default_factory=dict)
    tasks: dict[int, Json] = field(default_factory=dict)
    webhooks: dict[int, Json] = field(default_factory=dict)
    refuse: Callable[[str], None] = lambda call: None
    calls: Counter[str] = field(default_factory=Counter)
    most: int | None = None
    people: dict[int, str] = field(default_factory=lambda: {1: "kim@example.com", 2: "lee@example.com"})
    _numbers: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        kind, *rest = path.strip("/").split("/")[1:]
        number = int(rest[0]) if rest else None
        name = f"{method} {rest[1] if len(rest) > 1 else kind}"
        self.calls[name] += 1
        self.refuse(name)
        with self._turn:
            answered = getattr(self, f"_{name.lower().replace(' ', '_')}")(number, query, body)
        self.refuse(f"{name}, done")
        return (201 if method == "POST" else 200), answered

    def titled(self, title: str) -> int:
        return next(number for number, project in self.projects.items() if project["title"] == title)

    def of(self, project: int) -> list[Json]:
        """The tasks of a project, by number."""
        return [task for _, task in sorted(self.tasks.items()) if task["project"] == project]

    def _get_projects(self, number: int, query: dict[str, str], body: Any) -> Json:
        return self._known(self.projects, number, "Project")

    def _post_projects(self, number: None, query: dict[str, str], body: Json) -> Json:
        number = self._next()
        config = {"label_config": body["label_config"], "parsed_label_config": parsed(body["label_config"])}
        self.projects[number] = {**SECRET_FIELDS, "id": number, "model_version": "", **body, **config}
        return self.projects[number]

    def _post_import(self, number: int, query: dict[str, str], body: list[Json]) -> Json:
        self._known(self.projects, number, "Project")
        if wrong := [task for task in body if "video" not in task["data"]]:
            message = f'Error at item 0: "video" key is expected in task data :: {wrong[0]}'
            raise RefusalError(400, "Validation error", validation_errors={"non_field_errors": [message]})
        made = []
        for task in body:
            made.append(self._next())
            self.tasks[made[-1]] = {"id": made[-1], "project": number, "annotations": [], **task}
        return {"task_count": len(made), "task_ids": made}

    def _get_tasks(self, number: int | None, query: dict[str, str], body: Any) -> Json:
        project = int(query["project"])
        self._known(self.projects, project, "Project")
        asked = json.loads(query["query"])
        found = self.of(project)
        if "filters" in asked:
            (behind,) = asked["filters"]["items"]
            assert (behind["filter"], behind["operator"]) == ("filter:tasks:id", "greater")
            found = [task for task in found if task["id"] > behind["value"]]
        if "selectedItems" in asked:
            found = [task for task in found if task["id"] in asked["selectedItems"]["included"]]
        shown = query["include"].split(",")
        page = found[: min(int(query["page_size"]), self.most or len(found))]
        return {"total": len(found), "tasks": [_included(task, shown) for task in page]}

    def _patch_tasks(self, number: int, query: dict[str, str], body: Json) -> Json:
        self._known(self.tasks, number, "Task").update(body)
        return self.tasks[number]

    def _get_webhooks(self, number: int | None, query: dict[str, str], body: Any) -> list[Json]:
        return [hook for hook in self.webhooks.values() if hook["project"] == int(query["project"])]

    def _post_webhooks(self, number: None, query: dict[str, str], body: Json) -> Json:
        number = self._next()
        self.webhooks[number] = {"id": number, **body}
        return self.webhooks[number]

    def _patch_webhooks(self, number: int, query: dict[str, str], body: Json) -> Json:
        self._known(self.webhooks, number, "Webhook").update({"actions": [], **body})
        return self.webhooks[number]

    def _delete_webhooks(self, number: int, query: dict[str, str], body: Any) -> None:
        self._known(self.webhooks, number, "Webhook")
        del self.webhooks[number]

    def _get_users(self, number: int | None, query: dict[str, str], body: Any) -> list[Json]:
        return [{"id": number, "email": email} for number, email in self.people.items()]

    def _known(self, things: dict[int, Json], number: int, kind: str) -> Json:
        if number not in things:
            raise RefusalError(404, f"No {kind} matches the given query.")
        return things[number]

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def _included(task: Json, names: list[str]) -> Json:
    """What is asked for of a task; of its annotations Label Studio gives what has one of the same names."""
    shown = {name: task.get(name) for name in names if name in task}
    if "annotations" in shown:
        shown["annotations"] = [{name: each[name] for name in names if name in each} for each in shown["annotations"]]
    return shown


def parsed(config: str) -> Json:
    """A labelling set-up as Label Studio reads it, as far as ours go."""
    view = ElementTree.fromstring(config)
    objects = {each.get("name"): each for each in view if each.get("value", "").startswith("$")}
    controls = {}
    for each in view:
        labelled = each.get("toName")
        if labelled is not None:
            shown = objects[labelled]
            labels = [choice.get("value") for choice in each]
            inputs = [{"type": shown.tag, "valueType": None, "value": shown.get("value", "")[1:]}]
            controls[each.get("name")] = {
                "type": each.tag,
                "to_name": [labelled],
                "inputs": inputs,
                "labels": labels,
                "labels_attrs": {label: {"value": label} for label in labels},
            }
    return controls


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """One on a socket of this machine."""
    state = StandIn()

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            try:
                if self.headers.get("authorization") != f"Token {TOKEN}":
                    raise RefusalError(401, "Invalid token.")
                status, body = state.answer(self.command, address.path, query, json.loads(sent or b"null"))
            except RefusalError as refusal:
                status, body = refusal.status, refusal.body
            answer = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
