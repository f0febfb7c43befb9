"""Receiving videos: form data streamed to disk in bounded memory, counted and hashed on the way."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from motiontrace.service.forms import TEXT_BYTES, Form, FormLimits, Upload, broken, too_large
from motiontrace.service.kept_videos import ABANDONED_SECONDS, INCOMING
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

FLUSH_BYTES = 1 << 20  # a trip to a thread per network chunk would cost more than the write


@dataclass(frozen=True)
class Received:
    """A form as received."""

    files: dict[str, Upload]
    texts: dict[str, str]


@asynccontextmanager
async def received(request: Request, directory: Path, limits: FormLimits) -> AsyncIterator[Received]:
    """Read the request's form: files, and at most one each of the text fields.

    Files go to new ones in the folder "incoming" of `directory`, under names of our own, and are removed when the
    context ends, unless they were moved away before.

    Raises:
        ProblemError: 400 broken form, 413 more bytes than the limits allow, 415 not multipart, 422 wrong fields.
    """
    directory = directory / INCOMING
    boundary = _boundary(request)
    announced = request.headers.get("content-length", "")[:18]
    _check_body(int(announced) if announced.isdecimal() else 0, limits)
    await run_sync(_sweep, directory)
    form = Form(directory, limits)
    try:
        await _feed(request, boundary, form)
        yield Received(form.uploads(), form.texts())
    finally:
        await run_sync(form.close)


def json_is_sent(request: Request) -> bool:
    """Whether the request's body says that it is JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def json_body(request: Request, max_bytes: int, todo: str = "Ask less at once.") -> bytes:
    """Read a body that is JSON; `todo` says what to do about one that is too long.

    Raises:
        ProblemError: 400 it did not arrive as a whole, 413 it has more than `max_bytes`, 415 it is said to be no JSON.
    """
    if not json_is_sent(request):
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "The body does not say that it is JSON.",
            "Send JSON with the header Content-Type: application/json.",
        )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise ProblemError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "body_too_large",
                    f"The JSON has more than {max_bytes:,} bytes.",
                    todo,
                )
    except ClientDisconnect as error:
        raise broken("The connection closed before the whole body had arrived.") from error
    return bytes(body)


async def _feed(request: Request, boundary: bytes, form: Form) -> None:
    try:
        parser = MultipartParser(boundary, form.callbacks())
        arrived = 0
        async for chunk in request.stream():
            arrived += len(chunk)
            _check_body(arrived, form.limits)
            parser.write(chunk)
            if form.pending >= FLUSH_BYTES:
                await run_sync(form.flush)
    except FormParserError as error:
        raise broken(f"The form cannot be read: {error}.") from error
    except ClientDisconnect as error:
        raise broken("The connection closed before the whole form had arrived.") from error
    if not form.ended:
        raise broken("The form stops before its closing boundary.")
    await run_sync(form.sync)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        sent = kind.decode(errors="replace") or "of no stated type"
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "not_multipart",
            f"The body is {sent}, not multipart/form-data with a boundary.",
            "Send a form, with curl: -F video=@FILE -F prompt='...'.",
        )
    return boundary


def _check_body(size: int, limits: FormLimits) -> None:
    """Bound the whole body, with what the parser passes over: preamble, headers, epilogue."""
    if size > limits.max_bytes + limits.max_text_bytes + TEXT_BYTES * max(1, limits.max_files):
        raise too_large(limits.max_bytes)


def _sweep(directory: Path) -> None:
    """Remove what uploads of dead processes left; those of live ones have just been written to."""
    directory.mkdir(parents=True, exist_ok=True)
    limit = time.time() - ABANDONED_SECONDS
    for path in directory.iterdir():
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
        except FileNotFoundError:
            continue  # another request was quicker, or its upload just ended
