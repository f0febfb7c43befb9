"""The clips of a run: rows of a manifest with their weights, and the size and length that they are trained at."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from indexer.manifest import ManifestError, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from attribution.families import Checkpoint

WEIGHT_COLUMN = "weight"


class ClipSettings(BaseModel):
    """What the model sees of a clip; the names and the sampling rule of an index's recipe. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(default=480, ge=8, le=4096, description="height of the frames that the model sees, pixels")
    width: int = Field(default=832, ge=8, le=4096, description="width of the frames that the model sees, pixels")
    frames: int = Field(default=81, ge=1, le=1024, description="number of frames that the model sees")
    fps: float | None = Field(
        default=None, gt=0, le=240, description="frames sampled a second; None spreads them over the whole clip"
    )


def plan_clips(checkpoint: Checkpoint, settings: dict[str, Any]) -> ClipSettings:
    """``settings`` where given, else what the checkpoint's ``motiontrace.json`` recommends, else the defaults.

    Raises pydantic's ValidationError that names the field.
    """
    names = ClipSettings.model_fields
    recommended = {name: value for name, value in checkpoint.recommended.items() if name in names}
    return ClipSettings(**recommended | settings)


@dataclass(frozen=True)
class WeightedClip:
    """A manifest row that is trained on."""

    number: int
    """Its place in the manifest, from 1."""
    name: str
    """Its id, or its file's name where it has none: what people are told."""
    video: Path
    caption: str
    weight: float
    """How often it is drawn, above 0: a clip of weight 2 twice as often as one of weight 1."""


@dataclass(frozen=True)
class ClipList:
    """The rows of a manifest that are trained on."""

    clips: list[WeightedClip]
    left_out: int
    """How many more have the weight 0."""
    sha256: str
    """Of the manifest: its rows in their order, wherever the manifest lies; 64 hex digits."""


def read_clips(manifest: Path) -> ClipList:
    """The clips of a manifest; a column ``weight`` (a number from 0, 1 where it is empty) says how often each is drawn.

    Raises ManifestError where the manifest cannot be read, a weight is none, or all are 0.
    """
    clips: list[WeightedClip] = []
    rows, total = read_manifest(manifest), hashlib.sha256()
    root = (manifest if manifest.is_dir() else manifest.parent).resolve()
    for row in rows:
        weight = _weight(manifest, row.number, row.metadata.get(WEIGHT_COLUMN, 1))
        video = row.video.relative_to(root) if row.video.is_relative_to(root) else row.video
        total.update(f"{json.dumps([row.id, str(video), row.caption, weight])}\n".encode())
        if weight > 0:
            clips.append(WeightedClip(row.number, row.id or row.video.name, row.video, row.caption, weight))
    if not clips:
        raise ManifestError(f"every clip of {manifest} has the {WEIGHT_COLUMN} 0: there is nothing to train on.")
    return ClipList(clips, len(rows) - len(clips), total.hexdigest())


def _weight(manifest: Path, number: int, value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if isinstance(value, bool) or not (0 <= weight < math.inf):
        raise ManifestError(
            f"{manifest}, clip {number}: the column {WEIGHT_COLUMN!r} holds {value!r}; a number from 0 is expected: how"
            " often the clip is drawn, 1 as often as others."
        )
    return weight
