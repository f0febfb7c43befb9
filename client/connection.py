"""What both clients set up alike."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from motiontrace.client.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API_KEY_VARIABLE = "MOTIONTRACE_API_KEY"


def http_options(url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of httpx.Client and httpx.AsyncClient.

    Raises:
        ServiceError: the address or the key cannot be one.
    """
    key = (os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable() and " " not in key):  # httpx would show it in its own error
        raise ServiceError("The API key has characters that no key has: see that it was copied as a whole.")
    try:
        base_url = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServiceError(f"{url!r} is no address of a service ({error}): write it as http://HOST:PORT.") from error
    return {"base_url": base_url, "timeout": timeout, "headers": {"authorization": f"Bearer {key}"} if key else {}}


def format_of(path: Path) -> str:
    """The kind of table that a name's suffix says.

    Raises:
        ValueError: none that rankings are exported as.
    """
    from motiontrace.formats.registry import FORMATS, TABLES  # its writers take a while to import

    for name in TABLES:
        if path.suffix.lower() == FORMATS[name].suffix:
            return name
    *others, last = (FORMATS[name].suffix for name in TABLES)
    raise ValueError(f"{path.name} ends in none of {', '.join(others)} and {last}: name the format.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place once it is whole, and is gone otherwise."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
