"""The prompts that two models are compared on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motiontrace.files import FileError, read_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TEXTS = ("prompt", "caption")
_MOST_BYTES = 16 * 1024**2


class PromptsError(ValueError):
    """A file of prompts cannot be used; says which line and why."""


@dataclass(frozen=True)
class Prompt:
    """What to generate; `gravity` is what its object should fall by, frame heights / s^2 (None: not known)."""

    text: str
    gravity: float | None = None


def read_prompts(file: Path | None, texts: Sequence[str], gravity: float | None) -> list[Prompt]:
    """Prompts of a file and of the command line, each once, in their order.

    A `.jsonl` file has an object a line with `prompt` (or `caption`) and, if known, `gravity`; of any other
    file each line that is not empty is a prompt. `gravity` is that of prompts without one of their own.

    Raises PromptsError, also where the file cannot be read.
    """
    prompts = [] if file is None else _read(file)
    prompts += [Prompt(text.strip()) for text in texts if text.strip()]
    chosen = {each.text: Prompt(each.text, gravity if each.gravity is None else each.gravity) for each in prompts}
    if not chosen:
        raise PromptsError("there is no prompt: give --prompts FILE, or --prompt TEXT, which may be repeated")
    return list(chosen.values())


def _read(file: Path) -> list[Prompt]:
    try:
        text = read_file(file, most_bytes=_MOST_BYTES).decode("utf-8-sig")
        lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    except FileError as error:
        raise PromptsError(f"{error}.") from error
    except UnicodeDecodeError as error:
        raise PromptsError(f"{file} is not UTF-8 text: {error}") from error
    lines = [(number, line) for number, line in lines if line]
    if file.suffix != ".jsonl":
        return [Prompt(line) for _, line in lines]
    return [_parse(line, f"{file}, line {number}") for number, line in lines]


def _parse(line: str, where: str) -> Prompt:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise PromptsError(f"{where}: not valid JSON: {error}") from error
    text = next((row[key] for key in _TEXTS if key in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise PromptsError(f'{where}: an object with "prompt" is expected')
    gravity = row.get("gravity")
    if gravity is not None and not (type(gravity) in (int, float) and 0 < gravity < math.inf):
        raise PromptsError(f"{where}: gravity is {gravity!r}; a number of frame heights / s^2 above 0 is expected")
    return Prompt(text.strip(), gravity)
