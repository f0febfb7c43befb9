"""What a form may hold, and what is made of it while the parser goes through it: files on disk, texts in memory."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from python_multipart.multipart import parse_options_header

from motiontrace.service.problem import ProblemError, invalid

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from python_multipart.multipart import MultipartCallbacks

TEXT_BYTES = 64 << 10  # a form's own lines, and a text field; JSON fields say themselves how much they may hold


@dataclass(frozen=True)
class Upload:
    """A file as received. `path` holds its `size` bytes (at least 1) until the form's context ends."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class FormLimits:
    """What a form may hold."""

    texts: Collection[str]  # names of its text fields
    files: Collection[str] | None  # names of its files; None: any names
    max_files: int = 1
    max_bytes: int = 512 << 20  # all files together
    max_text_bytes: int = TEXT_BYTES  # all text fields together


@dataclass
class _File:
    """A file on its way to the disk: what has arrived since the last flush is `pending`."""

    path: Path
    pending: bytearray = field(default_factory=bytearray)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    def flush(self) -> None:
        """Hash and write what is pending."""
        self.digest.update(self.pending)
        with self.path.open("ab") as file:
            file.write(self.pending)
        self.pending.clear()


@dataclass
class Form:
    """Takes the parser's events: files' bytes pile up until they are flushed, text goes to `text`."""

    directory: Path
    limits: FormLimits
    ended: bool = False
    text: dict[str, bytearray] = field(default_factory=dict)
    files: dict[str, _File] = field(default_factory=dict)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _part: str = ""
    _file: _File | None = None  # the part at hand, where it is one

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

    @property
    def pending(self) -> int:
        """Bytes of files that are not written yet."""
        return sum(len(file.pending) for file in self.files.values())

    def flush(self) -> None:
        """Write what is pending."""
        for file in self.files.values():
            if file.pending:
                file.flush()

    def sync(self) -> None:
        """Flush to the disk itself: a query row must never name a file that a power cut emptied."""
        self.flush()
        for file in self.files.values():
            with file.path.open("rb") as written:
                os.fsync(written.fileno())

    def close(self) -> None:
        """Remove the files that nobody has moved away."""
        for file in self.files.values():
            file.path.unlink(missing_ok=True)

    def uploads(self) -> dict[str, Upload]:
        """The files, by field."""
        return {name: Upload(file.path, file.size, file.digest.hexdigest()) for name, file in self.files.items()}

    def texts(self) -> dict[str, str]:
        """The text fields, decoded."""
        try:
            return {name: value.decode() for name, value in self.text.items()}
        except UnicodeDecodeError as error:
            raise broken("A text field is not UTF-8.") from error

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = self._part = options.get(b"name", b"").decode(errors="replace")
        is_file = b"filename" in options or b"content-type" in self._headers
        self._file = None
        if name in self.files or name in self.text:
            raise _once(name)
        if name in self.limits.texts:
            self.text[name] = bytearray()
        elif is_file and (self.limits.files is None or name in self.limits.files):
            if len(self.files) == self.limits.max_files:
                raise invalid(
                    name,
                    "too_many_files",
                    f"The form has more than {self.limits.max_files} files.",
                    "Send the videos in several calls.",
                )
            self._file = self.files[name] = _File(self.directory / uuid.uuid4().hex)
        elif self.limits.files is None or name in self.limits.files:
            raise invalid(
                name,
                "video_is_text",
                f"The field '{name}' came as text, not as a file.",
                f"Send the file's bytes; with curl, mind the @: -F {name}=@FILE.",
            )
        else:
            known = ", ".join([*self.limits.files, *self.limits.texts])
            raise invalid(
                name,
                "unknown_field",
                f"The form has a field {name!r}, which this call does not know.",
                f"Use only these fields: {known}.",
            )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.size += end - start
            if sum(file.size for file in self.files.values()) > self.limits.max_bytes:
                raise too_large(self.limits.max_bytes)
            self._file.pending += data[start:end]
            return
        self.text[self._part] += data[start:end]
        if sum(map(len, self.text.values())) > self.limits.max_text_bytes:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "text_too_large",
                f"The form's text fields hold more than {self.limits.max_text_bytes:,} bytes.",
                "Shorten the prompts.",
            )

    def _on_part_end(self) -> None:
        if self._file is not None and self._file.size == 0:
            raise invalid(
                self._part,
                "empty_file",
                "The uploaded video is empty (0 bytes).",
                f"Send the bytes of a video file in the field '{self._part}'.",
            )

    def _on_end(self) -> None:
        self.ended = True


def too_large(max_bytes: int) -> ProblemError:
    """413 for a video over the bound."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "video_too_large",
        f"The upload is larger than {max_bytes:,} bytes, the most that this service takes at once.",
        "Send a shorter or smaller video, or raise MOTIONTRACE_MAX_UPLOAD_BYTES on the server.",
    )


def _once(name: str) -> ProblemError:
    return invalid(
        name,
        "repeated_field",
        f"The form has the field '{name}' more than once.",
        "Send it once: one query, one video.",
    )


def broken(detail: str) -> ProblemError:
    """400 for a form or body that cannot be read; `detail` says why."""
    return ProblemError(
        HTTPStatus.BAD_REQUEST,
        "broken_form",
        detail,
        "Let an HTTP client build the form (curl -F, httpx files=).",
    )
