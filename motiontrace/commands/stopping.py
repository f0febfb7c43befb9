"""Ctrl-C and SIGTERM: a run stops at once, says what is kept and how to go on, and ends with a code of its own."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM, which whoever looks after an interrupt looks after too."""


def heed_sigterm() -> None:
    """From now on SIGTERM stops a verb as Ctrl-C does, unless the verb itself has another use for it."""
    signal.signal(signal.SIGTERM, _terminate)


def exit_code(stop: KeyboardInterrupt) -> int:
    """130 for Ctrl-C, 143 for SIGTERM, as shells have it."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


@contextmanager
def resumable(kept: str, command: str | None = None) -> Iterator[None]:
    """A run that goes on where it was stopped: says what is `kept` of it, and the command that goes on.

    `command` None: the one that was given. Raises typer.Exit with the signal's code.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        _say(f"stopped. {kept} To go on: {command or same_command()}")
        raise typer.Exit(exit_code(stop)) from stop


def same_command() -> str:
    """The command that was given, to be given again."""
    if "RANK" in os.environ:  # one of accelerate launch's processes, which knows only its own arguments
        return "the same command again"
    return shlex.join(["motiontrace", *sys.argv[1:]])


class StoppableGroup(TyperGroup):
    """All verbs: what of them is stopped and has nothing to keep says so, and ends with the signal's code."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # Typer has a click of its own
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _say("stopped")
            raise typer.Exit(exit_code(stop)) from stop


def leave(code: int) -> None:
    """End the process without waiting for threads: one may be deep in a decoder."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _say(line: str) -> None:
    typer.echo(line, err=True)
