"""What the fine-tunes did to falling and bouncing in generated videos: the comparisons' figures, by motion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.attribution.video import read_video
from motiontrace.curation.comparison.differences import paired_difference
from motiontrace.curation.comparison.measures import measure_video
from motiontrace.demo.story.material import GRAVITY, RESTITUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.curation.comparison.differences import Difference
    from motiontrace.indexer.manifest import ManifestRow

    Values = Mapping[str, float | None]

FPS = 6.0  # 13 frames in two seconds
FRAMES, SIDE = 13, 32  # as the model has them


@dataclass(frozen=True)
class Measured:
    """A number of a video: its title, of which motion, and how it is made of what `compare` measures."""

    title: str
    motion: str
    of: Callable[[Values], float | None]


def _restitution(values: Values, made: Callable[[float], float]) -> float | None:
    restitution = values["restitution"]
    return None if restitution is None else made(restitution)


MEASURED = {
    "fall_gravity_error": Measured("falls: error of gravity", "free_fall", lambda values: values["gravity_error"]),
    "fall_residual": Measured("falls: off the parabola, frame heights", "free_fall", lambda values: values["residual"]),
    "bounce_gravity_error": Measured("bounces: error of gravity", "bounce", lambda values: values["gravity_error"]),
    "bounce_restitution_error": Measured(
        f"bounces: speed kept, off {RESTITUTION:g} by", "bounce",
        lambda values: _restitution(values, lambda kept: abs(kept - RESTITUTION)),
    ),
    "bounce_gains": Measured(
        "bounces that gain height, share", "bounce", lambda values: _restitution(values, lambda kept: float(kept > 1))
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Videos:
    """One model's videos: what `compare` measured of each, [prompts][seeds], and the height of the object."""

    values: dict[str, list[list[Values]]]
    """By motion."""
    heights: dict[str, NDArray[np.float64]]
    """By motion: [videos, F], frame heights from the top; NaN where no object is found."""
    files: dict[str, list[Path]]
    """By motion: as generated."""

    def table(self, measured: Measured) -> NDArray[np.float64]:
        """[prompts, seeds], NaN where a video has no value."""
        rows = [[measured.of(values) for values in row] for row in self.values[measured.motion]]
        return np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)


def read_videos(comparison: Path, label: str) -> Videos:
    """One model's videos of a comparison's folder; `label` is base or tuned."""
    document = json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))
    motions = {gravity: motion for motion, gravity in GRAVITY.items()}
    values: dict[str, dict[str, list[Values]]] = {motion: {} for motion in GRAVITY}
    heights: dict[str, list[list[float]]] = {motion: [] for motion in GRAVITY}
    files: dict[str, list[Path]] = {motion: [] for motion in GRAVITY}
    for video in document["videos"]:
        motion = motions[video["gravity"]]
        values[motion].setdefault(video["prompt"], []).append(video[label]["measures"])
        heights[motion].append([np.nan if y is None else y for y in video[label]["track"]["y"]])
        files[motion].append(comparison / video[label]["exact"])
    return Videos(
        {motion: list(rows.values()) for motion, rows in values.items()},
        {motion: np.array(rows, np.float64) for motion, rows in heights.items()},
        files,
    )


def changes(before: Videos, after: Videos) -> dict[str, Difference]:
    """Every measure of `MEASURED`: after less before, over the same prompts and seeds."""
    return {
        name: paired_difference(before.table(measured), after.table(measured)) for name, measured in MEASURED.items()
    }


@dataclass(frozen=True)
class Rendered:
    """Clips of the corpus, as the model would see them, measured as generated videos are."""

    means: dict[str, float | None]
    """By name in `MEASURED`."""
    heights: NDArray[np.float64]
    """[clips, F], frame heights from the top."""


def measure_rendered(clips: Sequence[ManifestRow], motion: str) -> Rendered:
    """How the measures of `motion` come out on rendered clips: what real, or cartoon, physics reaches at best."""
    measures = [
        measure_video(read_video(clip.video, frames=FRAMES, height=SIDE, width=SIDE).frames, FPS, GRAVITY[motion])
        for clip in clips
    ]
    values: list[dict[str, Any]] = [
        {
            "gravity_error": each.gravity_error,
            "residual": each.flight.residual if each.flight else None,
            "restitution": each.flight.restitution if each.flight else None,
        }
        for each in measures
    ]
    means: dict[str, float | None] = {}
    for name, measured in MEASURED.items():
        if measured.motion == motion:
            found = [value for each in values if (value := measured.of(each)) is not None]
            means[name] = float(np.mean(found)) if found else None
    return Rendered(means, np.stack([each.track.y for each in measures]))
