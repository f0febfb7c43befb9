"""Serving files: clips by byte range with validators, and thumbnails made once."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.responses import FileResponse, Response

from motiontrace.files import FileError, open_file
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from motiontrace.answering.sandbox import Decoder

RANGES = re.compile(r"bytes=\s*(\d{1,18}-\d{0,18}|-\d{1,18})(\s*,\s*(\d{1,18}-\d{0,18}|-\d{1,18}))*\s*", re.IGNORECASE)


def file_response(request: Request, path: Path, *, media_type: str) -> Response:
    """`path` as GET or HEAD asks for it: whole (200), in ranges (206), unchanged (304) or out of range (416).

    Raises:
        ProblemError: 404 when the file is gone or cannot be read, 416 when no such bytes exist.
    """
    try:
        status = _readable(path)
    except FileError as error:
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "file_missing",
            f"The catalog knows this clip, but its file {error.reason}.",
            "Put the file back where it was when it was indexed, or index the clip again from its new place.",
        ) from error
    tag = '"' + hashlib.sha256(f"{status.st_mtime_ns} {status.st_size}".encode()).hexdigest()[:32] + '"'
    headers = {
        "etag": tag,
        "last-modified": formatdate(status.st_mtime, usegmt=True),
        "cache-control": "private, no-cache",  # keep it, but ask: a clip's file may be replaced
        "x-content-type-options": "nosniff",
    }
    if _matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    _keep_satisfiable_ranges(request, status.st_size, headers)
    return FileResponse(path, headers=headers, media_type=media_type, stat_result=status)


class Thumbnails:
    """JPEG stills on disk, named by the digest of the video they show."""

    def __init__(self, directory: Path, decoder: Decoder, side: int = 256) -> None:
        self._directory, self._decoder, self._side = directory, decoder, side
        self._decoding = CapacityLimiter(2)  # a page asks for fifty at once: others need the threads, too

    async def of(self, video: Path, sha256: str) -> Path:
        """The still of `video`, a file of this digest; its longer side is 256 px.

        Raises:
            attribution.video.VideoError: the video cannot be decoded.
            answering.sandbox.DecoderError: its decoder did not finish.
            OSError: the video cannot be read.
        """
        path = self._directory / f"{sha256}.jpg"
        return await run_sync(self._make, video, path, limiter=self._decoding)

    def _make(self, video: Path, path: Path) -> Path:
        if path.exists():
            return path
        picture = self._decoder.thumbnail(video, side=self._side)
        self._directory.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            unfinished.write_bytes(picture)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return path


def _readable(path: Path) -> os.stat_result:
    """Open the file before its answer begins: what fails later would cut the answer off.

    Raises:
        FileError: it cannot be opened, or is no file.
        OSError: there is no room for another open file.
    """
    with open_file(path) as opened:
        return os.fstat(opened.fileno())


def _matches(if_none_match: str | None, tag: str) -> bool:
    if if_none_match is None:
        return False
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in tags or tag in tags


def _keep_satisfiable_ranges(request: Request, size: int, headers: dict[str, str]) -> None:
    """Leave only ranges that FileResponse can serve; RFC 9110 has all others ignored.

    Raises:
        ProblemError: 416, no range asked for has any byte.
    """
    asked = request.headers.get("range")
    if asked is None:
        return
    request.scope["headers"] = [each for each in request.scope["headers"] if each[0] != b"range"]
    current = request.headers.get("if-range", headers["etag"]) in (headers["etag"], headers["last-modified"])
    if request.method == "HEAD" or not current or not RANGES.fullmatch(asked.strip()):
        return
    spans = [span.strip().split("-") for span in asked.partition("=")[2].split(",")]
    if any(first and last and int(last) < int(first) for first, last in spans):
        return
    there = [f"{first}-{last}" for first, last in spans if size and (int(first) < size if first else int(last))]
    if not there:
        raise ProblemError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "range_not_satisfiable",
            f"The file has {size} bytes; none of them is in the range asked for.",
            "Ask for a range within the size that this response's Content-Range header gives.",
            headers={"content-range": f"bytes */{size}", "accept-ranges": "bytes"},
        )
    request.scope["headers"].append((b"range", f"bytes={','.join(there)}".encode()))
