"""Errors in the words of the command line: no bare numbers of the system, and no advice for another face."""

from __future__ import annotations

import ast
import errno
import importlib
import os
import pkgutil
import re
import signal
import socket
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import motiontrace.service
from motiontrace.catalog.database import upgrade
from motiontrace.client import ServiceError
from motiontrace.errors import TODO, TOLD, name_of, of_system, told
from motiontrace.service.problem import QUESTIONS, UNUSABLE, ProblemError, not_found, problem
from motiontrace.service.settings import ServiceSettings
from motiontrace.service.shortage import out_of_order, shortage
from motiontrace.service.worker.process import work

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOMS = ("answering", "attribution", "catalog", "client", "curation", "indexer", "service")
OF_HTTP = re.compile(
    r"\b(GET|HEAD|POST|PUT|PATCH|DELETE|HTTP|curl|headers?|fields?|forms?)\b|/docs|/v1/|/readyz|`next`"
)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.EACCES, "permissions"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "is full"),
        (errno.ENOENT, "no such"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.EISDIR, "name a file"),
        (errno.EEXIST, "is there already"),
        (errno.EMFILE, "too many files"),
        (errno.ENOLCK, "no locks"),
        (errno.EXDEV, "cross-device"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_file_and_what_to_do(code: int, says: str) -> None:
    line = told(OSError(code, os.strerror(code), "/some/file"))
    assert line is not None
    assert line.startswith("/some/file: ")
    assert says in line.lower()
    assert "Errno" not in line


def test_errors_of_the_system_with_words_of_their_own_keep_them() -> None:
    assert of_system(FileExistsError(errno.EEXIST, "It is there: name another one", "out")) == (
        "out: It is there: name another one"
    )
    assert of_system(OSError("it has gone")) == "it has gone"
    assert of_system(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == (
        "its volume is full; make room and give the same command again"
    )
    assert "a and b" in of_system(OSError(errno.EXDEV, os.strerror(errno.EXDEV), "a", None, "b"))


def test_all_kinds_of_errors_that_are_told_are_there() -> None:
    found = set()
    for room in ROOMS:
        package = importlib.import_module(f"motiontrace.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"motiontrace.{room}."):
            if "label_studio" not in module.name and not module.name.endswith("child"):
                for value in vars(importlib.import_module(module.name)).values():
                    if isinstance(value, type) and issubclass(value, Exception):
                        found.add(name_of(value))
    assert found >= TOLD


def written(node: ast.AST) -> str:
    """A text of the source, with {} for what is put into it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(written(each) for each in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def problems_of_the_service() -> Iterator[tuple[str, str]]:
    """The code of every problem that the service raises, and its advice."""
    yield from ((code, todo) for code, (_, todo) in QUESTIONS.items())
    yield from ((code, todo) for code, _, todo, _ in UNUSABLE.values())
    for short in (shortage(OSError(code, "")) or out_of_order(OSError(code, "")) for code in errno.errorcode):
        if short is not None:
            yield short.code, short.todo
    yield from (("not_found", "See /docs for every path."), ("method_not_allowed", "/docs shows what each does."))
    for path in Path(motiontrace.service.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            texts = [written(each) for each in node.args]
            if node.func.id in ("ProblemError", "invalid") and len(texts) == 4:
                yield texts[1], texts[3]
            elif node.func.id == "unauthorised":
                yield texts[0], texts[2]
            elif node.func.id == "not_found":
                yield f"{texts[0]}_not_found", f"GET {texts[2]}"


def test_advice_for_http_never_reaches_the_command_line() -> None:
    error = not_found("clip", "x", "/v1/clips")
    assert told(error) == "There is no clip 'x'. motiontrace clips list shows those that there are."
    served = problem(error, "/v1/clips/x")
    assert told(ServiceError(f"{served.detail} {served.todo}", served)) == told(error)
    kept = ProblemError(HTTPStatus.BAD_REQUEST, "new_code", "It is wrong.", "Send a shorter video.")
    assert told(kept) == "It is wrong. Send a shorter video."
    said = dict.fromkeys(problems_of_the_service())
    assert {"clip_not_found", "key_missing", "no_room", "video_missing", "index_unreadable"} <= {
        code for code, _ in said
    }
    assert [code for code, todo in said if OF_HTTP.search(todo) and code not in TODO and "{}" not in code] == []
    assert not any(OF_HTTP.search(todo) for todo in TODO.values())


def test_a_fault_of_ours_is_no_line() -> None:
    assert told(AssertionError("x")) is None
    assert told(KeyError("x")) is None


def test_a_port_for_metrics_that_is_in_use_is_named(tmp_path: Path) -> None:
    settings = ServiceSettings(home=tmp_path / "home")
    upgrade(settings.url)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(OSError, match="in use") as error:
                work(settings.model_copy(update={"metrics_port": port}))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    assert told(error.value) == (
        f"127.0.0.1:{port} (MOTIONTRACE_METRICS_PORT): another program listens there; stop it, or name another port"
    )
