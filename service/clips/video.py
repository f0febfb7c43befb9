"""A clip's file as it is sent: under /v1 to those with a key, under /media to those with a link."""

from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request, Response

from motiontrace.catalog.records import ClipRecord
from motiontrace.catalog.repositories import ClipRepository, EntryRepository
from motiontrace.formats.media_types import MEDIA_TYPES, OTHER_TYPE
from motiontrace.service.access.media import servable
from motiontrace.service.context import Context
from motiontrace.service.media import file_response
from motiontrace.service.problem import ProblemError, documented, not_found

BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
VALIDATORS = {
    "ETag": {"schema": {"type": "string"}, "description": "Send it back in If-None-Match or If-Range."},
}
VIDEOS = dict.fromkeys([*sorted(set(MEDIA_TYPES.values())), OTHER_TYPE], BYTES)
PARTS = {"multipart/byteranges": BYTES}  # several ranges at once
VIDEO_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": VIDEOS, "headers": VALIDATORS},
    206: {"description": "The bytes that the Range header asked for.", "content": VIDEOS | PARTS},
    304: {"description": "Unchanged since the ETag in If-None-Match."},
    **documented(404, 416, 422),
}


def known(service: Context, clip_id: str) -> ClipRecord:
    """The clip of that id.

    Raises:
        ProblemError: 404, there is none.
    """
    with service.database.reading() as session:
        clip = ClipRepository(session).get(clip_id)
    if clip is None:
        raise not_found("clip", clip_id, "/v1/clips")
    return clip


def video_path(service: Context, clip: ClipRecord) -> Path:
    """The file to serve as a clip's video; it may be gone.

    Raises:
        ProblemError: 404, it is no video, or lies where nothing is served from.
    """
    if clip.codec is None:  # a row can name any file, but only a video may leave the machine
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "no_video",
            f"The file of clip {clip.id!r} could not be read as a video when it was indexed.",
            "Repair or replace the clip's file and index it again.",
        )
    return file_path(service, clip)


def file_path(service: Context, clip: ClipRecord) -> Path:
    """The path from which a clip may be served: of its last manifest row, else of a copy that an index has.

    Whether a file is there is not checked.

    Raises:
        ProblemError: 404, it lies where nothing is served from.
    """
    if (path := _to_serve(service, clip.path)) is not None:
        return path
    with service.database.reading() as session:
        copies = EntryRepository(session).other_paths(clip)
    found = (_to_serve(service, copy) for copy in copies)
    return next((path for path in found if path is not None), None) or servable(clip.path, service.settings)


def _to_serve(service: Context, path: str) -> Path | None:
    """The file at a path; None: it may not be served, or is not there."""
    with suppress(ProblemError):
        if (found := servable(path, service.settings)).is_file():
            return found
    return None


def clip_video(service: Context, clip_id: str, request: Request) -> Response:
    """The clip's file as GET or HEAD asks for it; byte ranges are served.

    Raises:
        ProblemError: 404, there is no such clip, or its file cannot be served; 416, no such bytes exist.
    """
    clip = known(service, clip_id)
    path = video_path(service, clip)
    media_type = MEDIA_TYPES.get(Path(clip.path).suffix.lower(), OTHER_TYPE)
    return file_response(request, path, media_type=media_type)
