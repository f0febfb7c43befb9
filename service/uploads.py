"""Receiving a video: form data streamed to disk in bounded memory, counted and hashed on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

from anyio.to_thread import run_sync
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from service.problem import ProblemError, invalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

FILE_FIELD = "video"
INCOMING = "incoming"  # the folder of uploads that have not arrived as a whole
FLUSH_BYTES = 1 << 20  # a trip to a thread per network chunk would cost more than the write
TEXT_BYTES = 64 << 10  # all text fields together, and the form's own lines
ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True)
class Upload:
    """A form as received. `path` holds the video's `size` bytes (at least 1) until the context ends."""

    path: Path
    size: int
    sha256: str
    fields: dict[str, str]


@asynccontextmanager
async def received(
    request: Request, directory: Path, *, max_bytes: int, text_fields: Collection[str]
) -> AsyncIterator[Upload]:
    """Read the request's form: one file named "video" and at most one each of `text_fields`.

    The video goes to a new file in the folder "incoming" of `directory`, under a name of our own, and is removed
    when the context ends, unless it was moved away before.

    Raises:
        ProblemError: 400 broken form, 413 a video of more than `max_bytes`, or little more than that in all,
            415 not multipart, 422 wrong fields.
    """
    directory = directory / INCOMING
    boundary = _boundary(request)
    announced = request.headers.get("content-length", "")[:18]
    _check_body(int(announced) if announced.isdecimal() else 0, max_bytes)
    await run_sync(_sweep, directory)
    path = directory / uuid.uuid4().hex
    try:
        with path.open("xb") as file:
            form = _Form(file, max_bytes, text_fields)
            await _feed(request, boundary, form)
            await run_sync(form.sync)
        yield Upload(path, form.size, form.digest.hexdigest(), form.texts())
    finally:
        path.unlink(missing_ok=True)


async def _feed(request: Request, boundary: bytes, form: _Form) -> None:
    try:
        parser = MultipartParser(boundary, form.callbacks())
        arrived = 0
        async for chunk in request.stream():
            arrived += len(chunk)
            _check_body(arrived, form.max_bytes)
            parser.write(chunk)
            if len(form.pending) >= FLUSH_BYTES:
                await run_sync(form.flush)
    except FormParserError as error:
        raise _broken(f"The form cannot be read: {error}.") from error
    except ClientDisconnect as error:
        raise _broken("The connection closed before the whole form had arrived.") from error
    if not form.ended:
        raise _broken("The form stops before its closing boundary.")
    if not form.has_video:
        raise invalid(
            FILE_FIELD,
            "video_missing",
            f"The form has no file in the field '{FILE_FIELD}'.",
            f"Add the generated video, with curl: -F {FILE_FIELD}=@FILE.",
        )


@dataclass
class _Form:
    """Takes the parser's events: the video's bytes pile up in `pending`, text goes to `text`."""

    file: BinaryIO
    max_bytes: int
    text_fields: Collection[str]
    pending: bytearray = field(default_factory=bytearray)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0
    has_video: bool = False
    ended: bool = False
    text: dict[str, bytearray] = field(default_factory=dict)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _part: str = ""

    def callbacks(self) -> MultipartCallbacks:
        """The events of a MultipartParser that this form listens to."""
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def flush(self) -> None:
        """Hash and write what is pending."""
        self.digest.update(self.pending)
        self.file.write(self.pending)
        self.pending.clear()

    def sync(self) -> None:
        """Flush to the disk itself: a query row must never name a file that a power cut emptied."""
        self.flush()
        self.file.flush()
        os.fsync(self.file.fileno())

    def texts(self) -> dict[str, str]:
        """The text fields, decoded."""
        try:
            return {name: value.decode() for name, value in self.text.items()}
        except UnicodeDecodeError as error:
            raise _broken("A text field is not UTF-8.") from error

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._part = options.get(b"name", b"").decode(errors="replace")
        if self._part == FILE_FIELD:
            if b"filename" not in options and b"content-type" not in self._headers:
                raise invalid(
                    FILE_FIELD,
                    "video_is_text",
                    f"The field '{FILE_FIELD}' came as text, not as a file.",
                    f"Send the file's bytes; with curl, mind the @: -F {FILE_FIELD}=@FILE.",
                )
            if self.has_video:
                raise _once(FILE_FIELD)
            self.has_video = True
        elif self._part not in self.text_fields:
            known = ", ".join([FILE_FIELD, *self.text_fields])
            raise invalid(
                self._part,
                "unknown_field",
                f"The form has a field {self._part!r}, which this call does not know.",
                f"Use only these fields: {known}.",
            )
        elif self._part in self.text:
            raise _once(self._part)
        else:
            self.text[self._part] = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE_FIELD:
            self.size += end - start
            if self.size > self.max_bytes:
                raise too_large(self.max_bytes)
            self.pending += data[start:end]
            return
        self.text[self._part] += data[start:end]
        if sum(map(len, self.text.values())) > TEXT_BYTES:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "text_too_large",
                f"The form's text fields hold more than {TEXT_BYTES:,} bytes.",
                "Shorten the prompt.",
            )

    def _on_part_end(self) -> None:
        if self._part == FILE_FIELD and self.size == 0:
            raise invalid(
                FILE_FIELD,
                "empty_file",
                "The uploaded video is empty (0 bytes).",
                f"Send the bytes of a video file in the field '{FILE_FIELD}'.",
            )

    def _on_end(self) -> None:
        self.ended = True


def too_large(max_bytes: int) -> ProblemError:
    """413 for a video over the bound."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "video_too_large",
        f"The video is larger than {max_bytes:,} bytes, the most that this service takes.",
        "Send a shorter or smaller video, or raise MOTIONTRACE_MAX_UPLOAD_BYTES on the server.",
    )


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "not_multipart",
            f"The body is {kind.decode(errors='replace') or 'of no stated type'}, not multipart/form-data.",
            f"Send a form, with curl: -F {FILE_FIELD}=@FILE -F prompt='...'.",
        )
    return boundary


def _check_body(size: int, max_bytes: int) -> None:
    """Bound the whole body, with what the parser passes over: preamble, headers, epilogue."""
    if size > max_bytes + 2 * TEXT_BYTES:
        raise too_large(max_bytes)


def remove_abandoned(directory: Path, named: Collection[str]) -> None:
    """Remove the folders of videos that no query names; one of the last hour may be about to be named."""
    if not directory.is_dir():
        return
    limit = time.time() - ABANDONED_SECONDS
    for path in directory.iterdir():
        if path.name != INCOMING and path.name not in named and path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)


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


def _once(name: str) -> ProblemError:
    return invalid(
        name,
        "repeated_field",
        f"The form has the field '{name}' more than once.",
        "Send it once: one query, one video.",
    )


def _broken(detail: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.BAD_REQUEST,
        "broken_form",
        detail,
        "Let an HTTP client build the form (curl -F, httpx files=).",
    )
