"""The documents of /v1/clips."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from motiontrace.documents.base import PATH, Document
from motiontrace.documents.filters import Decision
from motiontrace.documents.regions import KEYFRAMES, Keyframe

ClipOutcome = Literal["indexed", "no_motion", "failed"]

CLIP: JsonDict = {
    "id": "bounce-0412",
    "file_name": "bounce-0412.mp4",
    "path": "toys/bounce-0412.mp4",
    "caption": "a red ball bounces on a wooden floor",
    "metadata": {"motion": "bounce"},
    "sha256": "9b74c9897bac770ffc029102a200c5de5f3d2b5c8a5f4e3d2c1b0a9f8e7d6c5b",
    "bytes": 48211,
    "width": 832,
    "height": 480,
    "frames": 81,
    "seconds": 5.06,
    "fps": 16.0,
    "codec": "h264",
    "damaged_frames": 0,
    "time_jumps": 0,
    "video_url": "/v1/clips/bounce-0412/video",
    "thumbnail_url": "/v1/clips/bounce-0412/thumbnail",
    "verdict": "realistic",
    "decision": "keep",
}
ENTRY: JsonDict = {
    "index": "demo",
    "file_name": "bounce-0412.mp4",
    "path": "toys/bounce-0412.mp4",
    "caption": "a red ball bounces on a wooden floor",
    "metadata": {"motion": "bounce"},
    "outcome": "indexed",
    "reason_code": None,
    "reason": None,
    "motion_mean": 0.42,
    "motion_peak": 3.1,
    "motion_region": {"ranges": [{"start": 1.25, "end": 2.5}], "boxes": [{"keyframes": list(KEYFRAMES)}]},
    "compute_seconds": 0.71,
    "computed_at": "2026-03-01T12:00:00Z",
}


class MotionRange(Document):
    """A part of a clip in which something moves; half-open: its end is not in it."""

    start: float = Field(description="Seconds from the start of the clip: when the first frame that moves is shown.")
    end: float = Field(
        description="Seconds from the start of the clip: when the first frame that moves no more is shown, or the end "
        "of the clip."
    )


class MotionBox(Document):
    """Where something moves; between two keyframes the box moves evenly."""

    keyframes: tuple[Keyframe, ...] = Field(description="Where the box is, their times increasing.")


class MotionRegion(Document):
    """When and where a clip moves, as measured: nobody has looked at it."""

    ranges: tuple[MotionRange, ...] = Field(description="When, in order; 20 at most.")
    boxes: tuple[MotionBox, ...] = Field(
        description="Where: one box around whatever moves, things far apart included, with 200 keyframes at most."
    )


class IndexEntry(Document):
    """What an index knows of a clip, and what became of it there."""

    index: str = Field(description="The index's name.")
    file_name: str = Field(description="The name of its file.")
    path: str | None = Field(description=PATH)
    caption: str = Field(description="That the index was made with.")
    metadata: dict[str, Any] = Field(description="The other columns of its row in the index's manifest.")
    outcome: ClipOutcome = Field(
        description="indexed: ranked in queries; no_motion: nothing moves, never ranked; failed: see reason."
    )
    reason_code: str | None = Field(description="Short, stable name of the reason why it is not ranked, for programs.")
    reason: str | None = Field(description="Why it is not ranked, for people; null for an indexed clip.")
    motion_mean: float | None = Field(description="Mean motion, pixels a sampled frame.")
    motion_peak: float | None = Field(description="Robust peak of the motion, pixels a sampled frame.")
    motion_region: MotionRegion | None = Field(
        description="When and where it moves. Null where nothing does, and for clips that were indexed before this was"
        " measured, until they are computed anew."
    )
    compute_seconds: float | None = Field(description="How long its gradient took.")
    computed_at: datetime


class ClipFields(Document):
    """What the catalog holds about a training clip.

    File, caption and metadata are those of the index that was asked for; without one, those that were indexed last.
    """

    id: str
    file_name: str = Field(description="The name of its file.")
    path: str | None = Field(description=PATH)
    caption: str
    metadata: dict[str, Any] = Field(description="The other columns of the clip's manifest row.")
    sha256: str | None = Field(description="Digest of the file when it was indexed, hex. Null if it was unreadable.")
    bytes: int | None = Field(description="Size of the file when it was indexed. Null if it was unreadable.")
    width: int | None = Field(description="Pixels, as displayed. Null if it could not be decoded.")
    height: int | None = Field(description="Pixels, as displayed. Null if it could not be decoded.")
    frames: int | None = Field(description="Frames in the file. Null if it could not be decoded.")
    seconds: float | None = Field(description="Length. Null if it could not be decoded.")
    fps: float | None = Field(description="Average frames a second. Null if it could not be decoded.")
    codec: str | None = Field(description="Null if it could not be decoded.")
    damaged_frames: int | None = Field(
        description="Pictures that are missing or not right, as decoding found them. Null for a clip that was decoded "
        "before they were counted, or that could not be decoded."
    )
    time_jumps: int | None = Field(
        description="How often the file's clock starts again, leaps or stands; its time goes on behind the picture "
        "before. "
        "Null as in `damaged_frames`."
    )
    video_url: str = Field(description="Path of the video file.")
    thumbnail_url: str = Field(description="Path of a JPEG still.")
    verdict: str | None = Field(description="What reviewers say it looks like; null where nothing was said.")
    decision: Decision | None = Field(description="What training should do with it; null where undecided.")


class ListedClip(ClipFields):
    """A clip as lists show it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**CLIP, "entry": ENTRY}]})

    entry: IndexEntry | None = Field(
        description="What became of it in the index that the list was asked for; null where it names none."
    )


class Clip(ClipFields):
    """A clip and what became of it in each index."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**CLIP, "indexes": [ENTRY]}]})

    indexes: list[IndexEntry]


class ClipPage(Document):
    """A page of clips, ordered by id."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"message": None, "clips": [{**CLIP, "entry": ENTRY}], "next": None}]}
    )

    message: str | None = Field(default=None, description="A sentence to show: what of the filter no clip has.")
    clips: list[ListedClip]
    next: str | None = Field(description="Path of the next page; null on the last.")
