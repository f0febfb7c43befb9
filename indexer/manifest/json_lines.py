"""JSON Lines: an object a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from motiontrace.indexer.manifest.refusing import ManifestError, RowError
from motiontrace.indexer.manifest.texts import check_utf8, open_text
from motiontrace.indexer.manifest.values import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Each line's number and its object, or what is wrong with it; blank lines are passed over.

    Raises:
        FileError: it is no file.
        ManifestError: it holds one JSON array, or is no UTF-8.
    """
    with open_text(file) as stream:
        begun = False
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            if not begun and text.lstrip().startswith("["):
                raise ManifestError(
                    f"{file}, line {line}: this is a JSON array, and a JSON object is expected, one a line, without [ ]"
                    f" and commas between them: jq -c '.[]' {file.name} writes it so."
                )
            begun = True
            yield line, _object(text.removeprefix("\ufeff"))  # files that were joined have marks in the middle


def parse_object(text: str) -> dict[str, Any]:
    """The one JSON object that a text holds.

    Raises:
        RowError: it is no JSON, no object, or names a key twice.
    """
    try:
        values = json.loads(text, object_pairs_hook=_once)
    except RowError:
        raise
    except (ValueError, RecursionError) as error:
        raise RowError("text that is not JSON", f"not valid JSON: {_why(error)}{_hint(text)}.") from error
    if not isinstance(values, dict):
        raise RowError("no JSON object", f"a JSON object is expected, one a line; this is {kind_of(values)}.")
    return values


def _object(text: str) -> dict[str, Any] | RowError:
    try:
        check_utf8(text)
        return parse_object(text)
    except RowError as error:
        return error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RowError("a key that is there twice", f"the key {twice!r} is there twice.")
    return values


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _hint(text: str) -> str:
    if text.rstrip().endswith("},"):
        return ". Leave out the comma at the end of the line"
    return ". Write each object on one line" if text.strip() in ("{", "}") else ""
