"""What a check comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    check: str
    """What was looked at, in a word or two."""
    found: str
    todo: str = ""
    """What to do about it; empty where nothing needs doing."""


def ok(check: str, found: str) -> Finding:
    """It is in order."""
    return Finding("ok", check, found)


def warn(check: str, found: str, todo: str) -> Finding:
    """It works, but somebody should know."""
    return Finding("warn", check, found, todo)


def fail(check: str, found: str, todo: str = "") -> Finding:
    """Something does not work. `todo` may be empty where `found` is an error's text, which says what to do."""
    return Finding("FAIL", check, found, todo)
