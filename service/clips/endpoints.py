"""The calls of /v1/clips."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response

from motiontrace.answering.choice import choose_index
from motiontrace.answering.filters import clip_filter
from motiontrace.answering.sandbox import DecoderError
from motiontrace.answering.unmet import unmet
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.repositories import ClipRepository
from motiontrace.documents.clips import Clip, ClipOutcome, ClipPage
from motiontrace.formats.file_names import file_name
from motiontrace.service.clips.documents import listed, read
from motiontrace.service.clips.video import BYTES, PARTS, VIDEO_ANSWERS, clip_video, file_path, known
from motiontrace.service.context import Service
from motiontrace.service.media import file_response
from motiontrace.service.parameters import ClipId, FilterParameters, PageSize, Text
from motiontrace.service.problem import ProblemError, documented, not_found

router = APIRouter(prefix="/v1/clips", tags=["clips"])

THUMBNAIL_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "A JPEG still, at most 256 px a side.", "content": {"image/jpeg": BYTES}},
    206: {"description": "The bytes that the Range header asked for.", "content": {"image/jpeg": BYTES} | PARTS},
    304: {"description": "Unchanged since the ETag in If-None-Match."},
    **documented(404, 416, 422),
}


@router.get("", summary="List clips", responses=documented(409, 422))
def list_clips(
    service: Service,
    filter: FilterParameters,
    index: Annotated[
        Text | None, Query(description="Only clips of this index, with what became of them there.")
    ] = None,
    outcome: Annotated[
        ClipOutcome | None,
        Query(description="Only clips that came to this in the index, or in the only one where none is named."),
    ] = None,
    text: Annotated[Text | None, Query(description="Only clips whose caption contains this, in any case.")] = None,
    after: Annotated[Text | None, Query(description="Only clips behind this id; `next` of a page sets it.")] = None,
    limit: PageSize = 50,
) -> ClipPage:
    """Clips in the order of their ids. Follow `next` until null: pages stay right while clips are added."""
    with service.database.reading() as session:
        chosen = choose_index(session, index) if index is not None or outcome is not None else None
        message = " ".join(unmet(session, chosen, filter)) or None
        page = ClipRepository(session).page(
            index_id=None if chosen is None else chosen.id,
            outcome=outcome,
            search=text,
            filter=None if filter is None else clip_filter(filter),
            after=after,
            limit=limit,
        )
        clips = listed(session, page.items, chosen, service.shown)
    asked = {
        "index": None if chosen is None else chosen.name,
        "outcome": outcome,
        "text": text,
        "limit": limit,
        "after": page.next,
    }
    pairs = [(name, str(value)) for name, value in asked.items() if value is not None]
    query = urlencode(pairs + ([] if filter is None else filter.to_query_string()))
    return ClipPage(message=message, clips=clips, next=None if page.next is None else f"/v1/clips?{query}")


def _no_thumbnail(clip_id: str, why: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        "no_thumbnail",
        f"No still can be made of clip {clip_id!r}: {why}",
        "Repair or replace the clip's file and index it again.",
    )


# Behind the list and before the clip itself: the more special path first.
@router.head(
    "/{clip_id}/video",
    summary="Size and type of a clip's video",
    responses=VIDEO_ANSWERS,
    name="head_clip_video",
)
@router.get("/{clip_id}/video", summary="Play a clip", responses=VIDEO_ANSWERS, response_class=Response)
def get_clip_video(service: Service, clip_id: ClipId, request: Request) -> Response:
    """The clip's file. Byte ranges are served, so players can seek."""
    return clip_video(service, clip_id, request)


@router.head(
    "/{clip_id}/thumbnail",
    summary="Size of a clip's still",
    responses=THUMBNAIL_ANSWERS,
    name="head_clip_thumbnail",
)
@router.get("/{clip_id}/thumbnail", summary="See a clip", responses=THUMBNAIL_ANSWERS, response_class=Response)
async def get_clip_thumbnail(service: Service, clip_id: ClipId, request: Request) -> Response:
    """A still from the middle of the clip, made at the first call and kept."""
    clip = await run_sync(known, service, clip_id)
    if clip.sha256 is None:
        raise _no_thumbnail(clip_id, "its file could not be read when it was indexed.")
    video = await run_sync(file_path, service, clip)
    try:
        path = await service.thumbnails.of(video, clip.sha256)
    except (VideoError, DecoderError) as error:
        raise _no_thumbnail(clip_id, str(error).replace(str(video), file_name(clip.path))) from error
    return await run_sync(partial(file_response, request, path, media_type="image/jpeg"))


@router.get("/{clip_id}", summary="Read a clip", responses=documented(404, 422))
def get_clip(service: Service, clip_id: ClipId) -> Clip:
    """A clip with its metadata and what became of it in each index."""
    with service.database.reading() as session:
        clip = read(session, clip_id, service.shown)
    if clip is None:
        raise not_found("clip", clip_id, "/v1/clips")
    return clip
