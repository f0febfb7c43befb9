"""docs/api.md: its examples run, in their order, and no call of the service is missing from it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import SecretStr

from motiontrace.answering.sandbox.limits import DecoderErrorCode
from motiontrace.attribution.video import VideoErrorCode
from motiontrace.service.app import Server, create_app
from motiontrace.service.labeling.label_studio.connection import Code as LabelStudioErrorCode
from motiontrace.service.problem import QUESTIONS, UNUSABLE
from tests.service.conftest import copy_of
from tests.service.keys import make_key
from tests.service.labeling.standin import TOKEN, StandIn, standing_in
from tests.service.serving import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from tests.service.conftest import Corpus

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NOT_OF_THE_CLIENT = {
    "GET /healthz", "GET /metrics", "HEAD /v1/clips/{clip_id}/video", "HEAD /v1/clips/{clip_id}/thumbnail",
    "GET /media/clips/{clip_id}/video", "HEAD /media/clips/{clip_id}/video",
    "GET /labeling/label-studio/ml/health", "GET /labeling/label-studio/ml/versions",
    "POST /labeling/label-studio/ml/setup", "POST /labeling/label-studio/ml/predict",
    "POST /labeling/label-studio/ml/webhook", "POST /labeling/label-studio/webhook",
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    language: str
    line: int  # of the page
    text: str


def examples() -> list[Example]:
    fences = re.finditer(r"^```(bash|python)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [Example(each[1], PAGE.count("\n", 0, each.start()) + 2, each[2]) for each in fences]


@dataclass
class Calls:
    """Middleware that notes which calls are made: "GET /v1/clips", by the program that makes them."""

    app: ASGIApp
    made: dict[str, set[str]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
        if "route" in scope:
            program = dict(scope["headers"]).get(b"user-agent", b"").decode().partition("/")[0]
            self.made.setdefault(program, set()).add(f"{scope['method']} {scope['route'].path}")


@dataclass(frozen=True)
class Run:
    """What running the page came to."""

    documented: set[str]
    made: dict[str, set[str]]
    folder: Path


@pytest.fixture(scope="module")
def label_studio() -> Iterator[StandIn]:
    with standing_in() as studio:
        yield studio


@pytest.fixture(scope="module")
def run(corpus: Corpus, label_studio: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs every example; the curl ones only where curl is installed."""
    folder = tmp_path_factory.mktemp("page")
    known = {"label_studio_url": label_studio.url, "label_studio_token": SecretStr(TOKEN)}
    settings = copy_of(corpus, tmp_path_factory.mktemp("service")).model_copy(update=known)
    _, header = make_key(settings, "query")
    shutil.copyfile(corpus.video("up-red"), folder / "generated.mp4")
    shutil.copyfile(corpus.video("left-red"), folder / "other.mp4")
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 60\n")
    app = create_app(settings)
    documented = {f"{method.upper()} {path}" for path, calls in app.openapi()["paths"].items() for method in calls}
    calls = Calls(app)
    server = Server(app, host="127.0.0.1", port=0)
    server.config.app = calls
    with running(server) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTIONTRACE_URL", url)
        patch.setenv("MOTIONTRACE_API_KEY", header.removeprefix("Bearer "))
        patch.setenv("WEBHOOK_SECRET", app.state.context.webhook_secret)
        patch.setenv("CURL_HOME", str(folder))
        patch.chdir(folder)
        names: dict[str, object] = {}
        for example in examples():
            if example.language == "python":
                exec(compile("\n" * (example.line - 1) + example.text, "docs/api.md", "exec"), names)
            elif shutil.which("curl"):
                in_shell(example, folder)
        names["service"].close()  # type: ignore[attr-defined]
    yield Run(documented, calls.made, folder)


def in_shell(example: Example, folder: Path) -> None:
    """Run it with what the blocks before exported."""
    state = folder / "exported"
    state.touch()
    script = f". {state}\nset -eu\n{example.text}\nexport -p > {state}\n"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, f"docs/api.md, line {example.line}:\n{done.stdout}\n{done.stderr}"


def test_every_call_of_the_service_has_a_heading(run: Run) -> None:
    assert run.documented == set(re.findall(r"^### ((?:GET|HEAD|POST|PUT|DELETE) \S+)$", PAGE, re.MULTILINE))


def test_every_call_is_shown_with_the_client(run: Run) -> None:
    assert run.made["python-httpx"] == run.documented - NOT_OF_THE_CLIENT


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_call_is_shown_with_curl(run: Run) -> None:
    assert run.made["curl"] == run.documented
    assert (run.folder / "ranking.csv").read_text(encoding="utf-8-sig").startswith("rank,score,percentile,stands_out,")
    assert (run.folder / "first-kilobyte").stat().st_size == 1024


def codes_in_use() -> set[str]:
    """The codes of all problems that the service raises, and of all reasons why a video cannot be used."""
    codes = {"bad_request", "not_found", "method_not_allowed", "range_not_satisfiable"}  # as the framework's statuses
    codes |= {f"{kind}_not_found" for kind in ("query", "clip", "index")}
    codes |= {*get_args(VideoErrorCode), *get_args(DecoderErrorCode)} - {"decoder_closed"}  # it ends then
    codes |= {*get_args(LabelStudioErrorCode)} | {code for code, *_ in UNUSABLE.values()} | {*QUESTIONS}
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "id", None) or getattr(called, "attr", None)
            if name in {"ProblemError", "Shortage", "_refuse", "invalid", "unauthorised", "_unavailable"}:
                assert isinstance(node, ast.Call)
                code = node.args[0 if name in {"unauthorised", "_unavailable"} else 1]
                codes |= {code.value} if isinstance(code, ast.Constant) else set()
    return codes


def test_the_table_of_errors_has_every_code_and_no_other() -> None:
    rows = re.findall(r"^\| [45]\d\d[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)} == codes_in_use()
