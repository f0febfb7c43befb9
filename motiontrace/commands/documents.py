"""What programs read of a verb: with --json one document on standard output, also where it failed, and nothing else."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

FLAG = "--json"
AsJson = Annotated[
    bool,
    typer.Option(FLAG, help="Print one JSON document, also where it fails; all else goes to standard error."),
]


def print_document(document: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Prints a document of JSON values."""
    if not isinstance(document, (dict, list)):
        document = document.model_dump(mode="json")
    # In ASCII: whatever the terminal's encoding, a name that is no text included.
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def print_failure(code: str, message: str) -> None:
    """Prints why there is no other document, where the command line asks for one: `{"error": {code, message}}`."""
    if FLAG in sys.argv[1:]:
        print_document({"error": {"code": code, "message": message}})


def code_of(error: BaseException) -> str:
    """A short, stable name of an error, for programs: its own, or one made of its kind, as `manifest`."""
    problem = getattr(error, "problem", None)  # of a service
    code = getattr(problem, "code", None) or getattr(error, "code", None)
    if isinstance(code, str):
        return code
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
