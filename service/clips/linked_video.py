"""The calls of /media: clips for those who have no key but a link, such as browsers that show a labelling tool."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from motiontrace.service.clips.video import VIDEO_ANSWERS, clip_video
from motiontrace.service.context import Service
from motiontrace.service.parameters import ClipId
from motiontrace.service.problem import documented

router = APIRouter(prefix="/media/clips", tags=["clips"])

KEPT_SECONDS = 3600  # by browsers, without asking again: a clip's file may be replaced
ANSWERS: dict[int | str, dict[str, Any]] = dict(sorted((VIDEO_ANSWERS | documented(403)).items()))


@router.head("/{clip_id}/video", summary="Size and type of a linked video", responses=ANSWERS, name="head_linked_video")
@router.get("/{clip_id}/video", summary="Play a clip by a link", responses=ANSWERS, response_class=Response)
def get_linked_video(
    service: Service,
    clip_id: ClipId,
    request: Request,
    # Without bounds: whatever is wrong with a link, the answer is the same.
    expires: Annotated[str, Query(description="Until when the link works, in seconds of Unix time.")] = "",
    signature: Annotated[str, Query(description="What proves that this service made it: 64 hex digits.")] = "",
) -> Response:
    """The clip's file, for whoever has a link that this service made.

    Byte ranges are served, so players can seek; web pages of any origin may show it.
    """
    left = service.links.check_video(clip_id, expires, signature)
    response = clip_video(service, clip_id, request)
    response.headers["cache-control"] = f"private, max-age={min(KEPT_SECONDS, int(left))}"
    return response
