"""The recordings: what they would let pass, and what they must not hold."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from vcr.errors import CannotOverwriteExistingCassetteException

from tests.labeling.conftest import LINK_SECRET, WEBHOOK_SECRET, WIRE
from tests.labeling.wire import complaints, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = sorted(WIRE.rglob("*.json"))
NAME = "http://server.example"
BODY = {"title": "review", "scores": [0.25, -0.5]}


class Answerer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        said = json.loads(self.rfile.read(length))
        answer = json.dumps({"said": said, "token": "hush", "control_weights": {}}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answerer) as answerer:
        thread = threading.Thread(target=answerer.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{answerer.server_port}"
        answerer.shutdown()
        thread.join()


@pytest.fixture
def recording(server: str, tmp_path: Path) -> Path:
    """One call, recorded."""
    path = tmp_path / "recording.json"
    with wire(path, server, record=True, words={server: NAME, "let-me-in": "<token>"}) as cassette:
        answer = post(server, {**BODY, "see": f"{server}/3"})
        assert answer.json()["token"] == "hush"  # the recorder changes nothing for those who ask
        assert not complaints(cassette)
    return path


def post(server: str, body: Any = None, path: str = "/projects?page=1", scheme: str = "Token") -> httpx.Response:
    body = {**BODY, "see": f"{server}/3"} if body is None else body
    return httpx.post(server + path, json=body, headers={"Authorization": f"{scheme} let-me-in"})


def test_a_recording_is_short_and_tells_no_secret(recording: Path, server: str) -> None:
    said = {**BODY, "see": f"{NAME}/3"}
    assert json.loads(recording.read_text()) == [
        {
            "call": "POST /projects?page=1",
            "authorization": "Token REDACTED",
            "json": said,
            "answer": {"status": 201, "json": {"said": said, "token": "REDACTED"}},
        }
    ]
    assert "let-me-in" not in recording.read_text()


def test_what_was_recorded_is_played_at_another_address_in_every_thread(recording: Path) -> None:
    answers = []
    here = "http://here.example:1"
    with wire(recording, here, record=False, words={here: NAME}) as cassette:
        thread = threading.Thread(target=lambda: answers.append(post(here)))
        thread.start()
        thread.join()
        assert answers[0].status_code == 201
        assert answers[0].json()["said"]["see"] == "http://here.example:1/3"
    assert not complaints(cassette)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": {**BODY, "see": "nowhere"}},
        {"body": {**BODY, "see": f"{NAME}/3", "scores": [0.25, -0.5001]}},
        {"path": "/projects?page=2"},
        {"path": "/tasks"},
        {"scheme": "Bearer"},
    ],
    ids=["text", "score", "query", "path", "authorization"],
)
def test_a_call_that_has_changed_is_refused_and_told_of(recording: Path, changed: dict[str, Any]) -> None:
    with wire(recording, NAME, record=False, words={NAME: NAME}) as cassette:
        with pytest.raises(CannotOverwriteExistingCassetteException):
            post(NAME, **changed)
        found = complaints(cassette)
    assert [complaint.partition(":")[0] for complaint in found] == [
        "not recorded, or not as often",
        "recorded, and not asked",
    ]


def test_a_call_is_played_as_often_as_it_was_recorded(recording: Path) -> None:
    with wire(recording, NAME, record=False, words={NAME: NAME}) as cassette:
        post(NAME)
        with pytest.raises(CannotOverwriteExistingCassetteException):
            post(NAME)
        assert len(complaints(cassette)) == 1


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(WIRE)) for file in FILES])
def test_recordings_in_the_repository_belong_to_a_test(file: Path) -> None:
    module, _, name = file.stem.partition(".")
    tests = (WIRE.parent / f"test_{module}.py").read_text()
    assert f"def test_{name.partition('-')[0]}(" in tests


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(WIRE)) for file in FILES])
def test_recordings_in_the_repository_hold_no_secret(file: Path) -> None:
    text = file.read_text()
    for kind, pattern in {
        "JSON web token": r"eyJ[\w-]+\.",
        "legacy token": r"\b[0-9a-f]{40}\b",
        "session": r"(?i)sessionid|csrftoken|set-cookie",
        "of the service": f"{WEBHOOK_SECRET.hex()}|{LINK_SECRET.hex()}",
        "address of one run": r"(127\.0\.0\.1|localhost):\d",
    }.items():
        assert not re.search(pattern, text), kind
