"""The paths of the things that the service serves. Ids are escaped: a clip may be called "a b?.mp4"."""

from urllib.parse import quote


def query(query_id: str) -> str:
    """Where a query and its result are."""
    return f"/v1/queries/{quote(query_id, safe='')}"


def clip(clip_id: str) -> str:
    """Where a clip's record is."""
    return f"/v1/clips/{quote(clip_id, safe='')}"


def video(clip_id: str) -> str:
    """Where a clip's video file is."""
    return f"{clip(clip_id)}/video"


def thumbnail(clip_id: str) -> str:
    """Where a clip's still is."""
    return f"{clip(clip_id)}/thumbnail"


def index(name: str) -> str:
    """Where an index's record is."""
    return f"/v1/indexes/{quote(name, safe='')}"
