"""Processes that start quickly: forked from one that has imported the rooms, which takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess

ROOT = Path(__file__).parents[1]
SECONDS = 300


def start(function: Callable[..., object], *arguments: Any) -> ForkServerProcess:
    """Start a process that calls a function of a module's top level, in this environment and directory.

    It is forked from a server, which starts with the first call and imports what this process has imported of the
    rooms by then: a test that needs more of them at once imports it itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted(name for name in sys.modules if name.partition(".")[0] == "motiontrace"))
    process = context.Process(target=_call, args=(dict(os.environ), Path.cwd(), function, arguments))
    with chdir(ROOT):  # the server finds the rooms there
        process.start()
    return process


def start_command(
    *arguments: object, output: Path, errors: Path, cwd: Path | None = None, **variables: str
) -> ForkServerProcess:
    """Start `motiontrace ARGUMENTS` with more variables in its environment; what it prints is added to the files."""
    return start(_command, [str(each) for each in arguments], cwd or Path.cwd(), variables, output, errors)


def run_command(*arguments: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `motiontrace ARGUMENTS` to its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = (Path(folder) / name for name in ("output", "errors"))
        process = start_command(*arguments, output=output, errors=errors, cwd=cwd, **variables)
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(arguments), SECONDS, output.read_bytes(), errors.read_bytes())
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read_text(), errors.read_text())


def _call(
    environment: dict[str, str], folder: Path, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    function(*arguments)


def _command(arguments: list[str], folder: Path, variables: dict[str, str], output: Path, errors: Path) -> None:
    os.environ.update(variables)
    os.chdir(folder)
    for descriptor, path in ((1, output), (2, errors)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["motiontrace", *arguments]
    from motiontrace.cli import main  # here, so that whoever starts something else does without

    main()
