"""The clips of a run: rows of a manifest with their weights, and the size and length that they are trained at."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from motiontrace.curation.finetuning.settings import ClipSettings
from motiontrace.indexer.manifest import ManifestError, RefusedRow, manifest_folder, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.attribution.families import Checkpoint
    from motiontrace.indexer.manifest import ManifestRow

WEIGHT_COLUMN = "weight"


def plan_clips(checkpoint: Checkpoint, settings: dict[str, Any]) -> ClipSettings:
    """`settings` where given, else what the checkpoint's `motiontrace.json` recommends, else the defaults.

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
    """Its id, or its file's name where it has none; messages name the clip by it."""
    video: Path
    caption: str
    weight: float
    """How often it is drawn, above 0: a clip of weight 2 twice as often as one of weight 1."""
    found: bool = True
    """Whether something was at the path when the manifest was read."""


@dataclass(frozen=True)
class ClipList:
    """The rows of a manifest that are trained on."""

    clips: list[WeightedClip]
    left_out: int
    """How many more have the weight 0."""
    sha256: str
    """Of the manifest's rows in their order, whatever its folder; 64 hex digits."""
    refused: list[RefusedRow] = field(default_factory=list)
    """Rows that are no clips, or whose weight is not valid."""


def read_clips(manifest: Path, *, strict: bool = False) -> ClipList:
    """The clips of a manifest; a column `weight` (a number from 0, 1 where it is empty) says how often each is drawn.

    Raises ManifestError where the manifest cannot be read, no row is a clip, or all weights are 0; with `strict` for
    the first row that is no clip or whose weight is none.
    """
    clips: list[WeightedClip] = []
    refused: list[RefusedRow] = []
    rows, total = read_manifest(manifest, refused.append, strict=strict), hashlib.sha256()
    root = manifest_folder(manifest)
    left_out = 0
    for row in rows:
        try:
            weight = _weight(row)
        except ValueError as error:
            if strict:
                raise ManifestError(f"{manifest}, {row.place}: {error}") from error
            refused.append(RefusedRow(row.number, row.place, "a weight that is none", str(error)))
            continue
        video = row.video.relative_to(root) if row.video.is_relative_to(root) else row.video
        total.update(f"{json.dumps([row.id, str(video), row.caption, weight])}\n".encode())
        if weight > 0:
            clips.append(WeightedClip(row.number, row.id or row.video.name, row.video, row.caption, weight, row.found))
        left_out += weight == 0
    if not left_out and not clips:
        raise ManifestError(f"no clip of {manifest} can be trained on: {refused[0].place}: {refused[0].said}")
    if not clips:
        raise ManifestError(f"every clip of {manifest} has the {WEIGHT_COLUMN} 0: there is nothing to train on.")
    return ClipList(clips, left_out, total.hexdigest(), refused)


def _weight(row: ManifestRow) -> float:
    """Raises ValueError where there is none."""
    named = (value for column, value in row.metadata.items() if column.strip().casefold() == WEIGHT_COLUMN)
    value: Any = next(named, 1)
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if isinstance(value, bool) or not (0 <= weight < math.inf):
        raise ValueError(
            f"the column {WEIGHT_COLUMN!r} holds {value!r}; a number from 0 is expected: how often the clip is drawn, 1"
            " as often as others."
        )
    return weight
