"""What goes between the service and Label Studio: recorded where a real one answers, played from the recording else."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import vcr
from vcr.patch import PATCHER_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set
    from pathlib import Path

    from vcr.cassette import Cassette
    from vcr.request import Request

KNOWN_BY = ("method", "path", "query", "body", "authorization")
LINE = 160  # characters
REDACTED = "REDACTED"
SECRET = {"token", "access", "refresh", "password", "task_data_login", "task_data_password", "api_key"}
# Nobody here reads these: settings of projects, and what Label Studio counts.
UNREAD = {
    "annotator_evaluation_enabled", "avatar", "color", "comment_authors", "comment_count",
    "config_has_control_tags", "config_suitable_for_bulk_annotation", "control_weights", "created_ago",
    "custom_task_lock_ttl", "data_types", "enable_empty_annotation", "evaluate_predictions_automatically",
    "expert_instruction", "finished_task_number", "ground_truth_number", "label_config_hash", "labels_attrs",
    "last_comment_updated_at", "maximum_annotations", "min_annotations_to_start_training", "num_tasks_with_annotations",
    "overlap_cohort_percentage", "pinned_at", "precomputed_agreement", "queue_done", "queue_total",
    "reveal_preannotations_interactively", "sampling", "search_vector", "show_annotation_history",
    "show_collab_predictions", "show_ground_truth_first", "show_instruction", "show_overlap_first", "show_skip_button",
    "skip_queue", "skipped_annotations_number", "start_training_on_annotation_update",
    "total_annotations_number", "total_predictions_number", "unresolved_comment_count", "useful_annotation_number",
}  # fmt: skip


@contextmanager
def wire(path: Path, server: str, *, record: bool, words: Mapping[str, str]) -> Iterator[Cassette]:
    """Record what all threads of this process say over httpx to the server, or play what was recorded.

    A request that differs from all recorded ones in method, path, query, body or the kind of its authorization, or
    comes once more than it was recorded, is answered with an exception where it is made, and `complaints` tells of it.

    Args:
        path: the recording, which is made anew if `record`.
        server: URL of the server; calls of others go their way.
        record: whether the server is there.
        words: what stands in the recording, by what it stands for: addresses and secrets of this run.
    """
    recorder = vcr.VCR(
        serializer="tidy",
        record_mode="all" if record else "none",
        drop_unused_requests=record,
        match_on=KNOWN_BY,
        decode_compressed_response=True,
        before_record_request=lambda request: _request(request, server),
        before_record_response=_response,
        filter_sensitive_data=[(word, value) for value, word in words.items()],
        skip_patchers=[name for name in PATCHER_NAMES if name != "httpx"],
    )
    recorder.register_serializer("tidy", _Tidy(words[server]))
    recorder.register_matcher("authorization", _same_authorization)
    with recorder.use_cassette(path) as cassette:
        cassette.refused = []
        filter_request = cassette.filter_request

        def refuse(request: Request) -> Request | None:  # asked of requests that are about to be refused
            found = filter_request(request)
            if found is not None:
                cassette.refused.append(f"{found.method} {found.uri} {(found.body or b'')[:500]!r}")
            return found

        cassette.filter_request = refuse
        yield cassette


def complaints(cassette: Cassette) -> list[str]:
    """Say what a played cassette was asked in vain, and what it was not asked."""
    asked_in_vain = [f"not recorded, or not as often: {request}" for request in cassette.refused]
    if cassette.record_mode == vcr.mode.ALL:
        return asked_in_vain
    requests = enumerate(cassette.requests)
    return asked_in_vain + [
        f"recorded, and not asked: {request.method} {request.uri} {(request.body or b'')[:500]!r}"
        for index, request in requests
        if not cassette.play_counts[index]
    ]


def redacted(document: Any, unread: Set[str] = UNREAD) -> Any:
    """A copy of a JSON document without the secrets that Label Studio tells, and without what nobody reads."""
    if isinstance(document, list):
        return [redacted(each, unread) for each in document]
    if not isinstance(document, dict):
        return document
    return {
        key: REDACTED if key in SECRET and value else redacted(value, unread)
        for key, value in document.items()
        if key not in unread
    }


def pretty(document: Any, room: int = LINE) -> str:
    """JSON in which what fits on a line is on one."""
    flat = json.dumps(document, ensure_ascii=False)
    if len(flat) <= room or not isinstance(document, dict | list):
        return flat
    if isinstance(document, dict):
        parts = [f'"{key}": {pretty(value, room - 1 - len(key) - 4)}' for key, value in document.items()]
        opened, closed = "{}"
    else:
        parts = [pretty(value, room - 1) for value in document]
        opened, closed = "[]"
    lines = ",\n".join(parts).splitlines()
    return "\n".join([opened, *(f" {line}" for line in lines), closed])


def _request(request: Request, server: str) -> Request | None:
    if not request.uri.startswith(server + "/"):
        return None
    headers = {name: request.headers[name] for name in ("content-type",) if name in request.headers}
    if (authorization := request.headers.get("authorization")) is not None:
        headers["authorization"] = f"{authorization.partition(' ')[0]} {REDACTED}"
    request.headers = headers
    request.body = request.body or None
    return request


def _response(response: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in response["headers"].items() if name.lower() == "content-type"}
    response["headers"] = kept
    body = response["body"]["string"]
    with suppress(ValueError):  # no JSON
        response["body"]["string"] = json.dumps(redacted(json.loads(body))).encode()
    return response


def _same_authorization(one: Request, other: Request) -> bool:
    return one.headers.get("authorization") == other.headers.get("authorization")


class _Tidy:
    """Cassettes as JSON of which bodies are a part, instead of text in it."""

    def __init__(self, server: str) -> None:
        self._server = server

    def serialize(self, cassette: dict[str, Any]) -> str:
        calls = []
        for interaction in cassette["interactions"]:
            request, response = interaction["request"], interaction["response"]
            called = {"call": f"{request['method']} {request['uri'].removeprefix(self._server)}"}
            if authorization := request["headers"].get("authorization"):
                called["authorization"] = authorization[0]
            answered = {"status": response["status"]["code"]}
            calls.append(called | _body(request["body"]) | {"answer": answered | _body(response["body"]["string"])})
        return pretty(calls) + "\n"

    def deserialize(self, text: str) -> dict[str, Any]:
        return {"interactions": [self._interaction(call) for call in json.loads(text)]}

    def _interaction(self, call: dict[str, Any]) -> dict[str, Any]:
        method, _, path = call["call"].partition(" ")
        body, kind = _text(call)
        headers = {"content-type": [kind]} if kind else {}
        if "authorization" in call:
            headers["authorization"] = [call["authorization"]]
        request = {"method": method, "uri": self._server + path, "body": body, "headers": headers}
        body, kind = _text(call["answer"])
        response = {
            "status": {"code": call["answer"]["status"], "message": None},
            "headers": {"content-type": [kind]} if kind else {},
            "body": {"string": body or ""},
        }
        return {"request": request, "response": response}


def _body(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return {"json": json.loads(text)}
    except ValueError:
        return {"text": text}


def _text(part: dict[str, Any]) -> tuple[str | None, str | None]:
    """A body and its kind."""
    if "json" in part:
        return json.dumps(part["json"]), "application/json"
    return part.get("text"), "text/plain" if "text" in part else None
