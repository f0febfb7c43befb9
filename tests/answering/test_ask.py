"""Questions answered without a service: what they load, and why some have no answer."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import motiontrace.answering
from motiontrace.answering.ask import ask
from motiontrace.answering.errors import QuestionError
from motiontrace.answering.settings import AnsweringSettings
from motiontrace.documents.filters import Filter
from motiontrace.documents.questions import ClipQuestion, VideoQuestion
from motiontrace.errors import told
from motiontrace.service.problem import QUESTIONS, of_question
from tests.service.conftest import copy_of

if TYPE_CHECKING:
    from tests.service.conftest import Corpus

WEB = ("fastapi", "starlette", "uvicorn", "motiontrace.service.problem", "motiontrace.service.app")
OF_ASK = {"answer_not_kept", "filter_passes_none"}  # codes that a service never meets
PROGRAM = f"""
import sys
from motiontrace.cli import main
try:
    main()
finally:
    print([name for name in {WEB!r} if name in sys.modules])
"""


@pytest.fixture(scope="module")
def settings(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> AnsweringSettings:
    return AnsweringSettings(home=copy_of(corpus, tmp_path_factory.mktemp("ask")).home, device="cpu")


def run(settings: AnsweringSettings, *arguments: str) -> str:
    """What a command prints that loads no web framework."""
    environment = {**os.environ, "MOTIONTRACE_HOME": str(settings.home), "MOTIONTRACE_DEVICE": "cpu"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    printed, _, loaded = said.stdout.rstrip().rpartition("\n")
    assert (said.returncode, loaded) == (0, "[]"), said.stderr
    return printed


def test_commands_without_a_service_load_no_web_framework(
    settings: AnsweringSettings, corpus: Corpus, tmp_path: Path
) -> None:
    asked = (str(corpus.video("up-red")), "--prompt", "a square moves up", "-k", "1")
    answer = json.loads(run(settings, "query", *asked, "--keep", "--json"))
    assert answer["top"][0]["id"] == "up-red"
    run(settings, "queries", "show", answer["id"])
    run(settings, "labels", "export", answer["id"], "--format", "fiftyone", "--output", str(tmp_path / "folder"))
    assert (tmp_path / "folder" / "README.txt").exists()


def test_an_answer_has_the_clips_records_with_it(settings: AnsweringSettings, corpus: Corpus) -> None:
    stages: list[str] = []
    question = VideoQuestion(corpus.video("up-red"), "a square, up-red", k=2, filter=Filter())
    answer = ask(settings, question, on_stage=stages.append)
    assert stages == ["loading", "decoding", "motion", "gradient", "scoring"]
    assert (answer.status, answer.filter, answer.ranked) == ("done", None, 8)
    assert (answer.top[0].id, answer.top[0].path) == ("up-red", str(corpus.video("up-red")))


@pytest.mark.parametrize(
    ("question", "code", "field"),
    [
        (ClipQuestion("nobody"), "clip_not_indexed", "clip"),
        (ClipQuestion("broken"), "clip_not_indexed", "clip"),
        (ClipQuestion("up-red", index="other"), "unknown_index", "index"),
        (ClipQuestion("up-red", damping=0.1), "damping_without_whitening", "damping"),
        (ClipQuestion("up-red", filter=Filter(verdict=["cartoon"])), "filter_passes_none", "filter"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_a_code_in_words_of_no_face(
    question: ClipQuestion, code: str, field: str, settings: AnsweringSettings
) -> None:
    with pytest.raises(QuestionError) as refused:
        ask(settings, question)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert str(refused.value).startswith(refused.value.detail)
    for word in ("GET", "/v1/", "HTTP", "--"):
        assert word not in str(refused.value)
    line = told(refused.value)
    assert line is not None and line.startswith(refused.value.detail) and "GET" not in line


def test_http_has_its_words_for_every_code() -> None:
    codes = set()
    for path in Path(motiontrace.answering.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "QuestionError":
                assert isinstance(node.args[0], ast.Constant)
                codes.add(node.args[0].value)
    assert codes == QUESTIONS.keys() | OF_ASK
    for code in QUESTIONS:
        error = QuestionError(code, "It is wrong.", facts={"index": "tiny", "query": "0" * 32})
        assert of_question(error).code == code
