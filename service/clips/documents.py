"""From the catalog's records to the documents of /v1/clips, for whoever shows a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.catalog.repositories import ClipRepository, EntryRepository, IndexRepository, LabelRepository
from motiontrace.documents import links
from motiontrace.documents.clips import Clip, IndexEntry, ListedClip, MotionRegion
from motiontrace.formats.file_names import file_name
from motiontrace.service.places import without_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from motiontrace.answering.documents import ShownPath
    from motiontrace.catalog.records import ClipRecord, EntryRecord, IndexRecord, LabelRecord


def read(session: Session, clip_id: str, shown: ShownPath) -> Clip | None:
    """A clip and what became of it in each index; None: there is none of that id.

    `shown` gives clips' paths as the reader may see them.
    """
    clip = ClipRepository(session).get(clip_id)
    if clip is None:
        return None
    names = {index.id: index.name for index in IndexRepository(session).all()}
    entries = EntryRepository(session).of_clip(clip_id)
    label = LabelRepository(session).current([clip_id]).get(clip_id)
    indexes = [_entry(names[entry.index_id], entry, shown) for entry in entries]
    return Clip(**_fields(clip, clip, label, shown), indexes=indexes)


def listed(
    session: Session, clips: Sequence[ClipRecord], index: IndexRecord | None, shown: ShownPath
) -> list[ListedClip]:
    """Clips as lists show them: with the manifest row and outcome of `index`; without an index, with their last row."""
    ids = [clip.id for clip in clips]
    entries = {} if index is None else EntryRepository(session).get_many(index.id, ids)
    labels = LabelRepository(session).current(ids)
    found = []
    for clip in clips:
        entry = entries.get(clip.id)
        fields = _fields(clip, clip if entry is None else entry, labels.get(clip.id), shown)
        became = None if index is None or entry is None else _entry(index.name, entry, shown)
        found.append(ListedClip(**fields, entry=became))
    return found


def _fields(
    clip: ClipRecord, told: ClipRecord | EntryRecord, label: LabelRecord | None, shown: ShownPath
) -> dict[str, Any]:
    """A clip as it was indexed last, or as one index has it (`told`)."""
    return {
        "id": clip.id,
        "file_name": file_name(told.path),
        "path": shown(told.path),
        "caption": told.caption,
        "metadata": told.extra,
        "sha256": told.sha256,
        "bytes": told.bytes,
        "width": clip.width,
        "height": clip.height,
        "frames": clip.frames,
        "seconds": clip.seconds,
        "fps": clip.fps,
        "codec": clip.codec,
        "damaged_frames": clip.damaged_frames,
        "time_jumps": clip.time_jumps,
        "video_url": links.video(clip.id),
        "thumbnail_url": links.thumbnail(clip.id),
        "verdict": None if label is None else label.verdict,
        "decision": None if label is None else label.decision,
    }


def _entry(index: str, entry: EntryRecord, shown: ShownPath) -> IndexEntry:
    region = entry.motion_region
    return IndexEntry(
        index=index,
        file_name=file_name(entry.path),
        path=shown(entry.path),
        caption=entry.caption,
        metadata=entry.extra,
        outcome=entry.outcome,
        reason_code=entry.reason_code,
        reason=entry.reason and without_path(entry.reason, entry.path, shown),
        motion_mean=entry.motion_mean,
        motion_peak=entry.motion_peak,
        motion_region=None if region is None else MotionRegion.model_validate(region),
        compute_seconds=entry.compute_seconds,
        computed_at=entry.computed_at,
    )
