"""Reads the JSON files of a checkpoint; errors say what is wrong and how to mend it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.files import FileError, open_file

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 64 * 2**20  # bytes; the index of the largest model's weights has less than one million


def read_json(file: Path) -> dict[str, Any]:
    """The object that a JSON file of a checkpoint holds; raises ModelError that names the file and what is wrong."""
    try:
        with open_file(file, most_bytes=_LARGEST) as stream:
            values = json.loads(stream.read())
    except FileError as error:
        if error.code == "missing":
            raise ModelError(f"{file} could not be read: No such file. Copy the checkpoint again.") from error
        raise ModelError(f"{error}; a checkpoint has JSON there. Copy the checkpoint again.") from error
    except OSError as error:
        raise ModelError(f"{file} could not be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON ({error}). Copy it again from where the model is from.") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object, not {kind_of(values)}.")
    return values


def kind_of(value: object) -> str:
    """What a value of JSON is, in words: "a list"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names[type(value)]
