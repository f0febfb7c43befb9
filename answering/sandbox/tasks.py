"""What a confined process is asked to do with a video: attribution.video's functions, their results as an Answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from motiontrace.attribution.video import inspect_video, read_video, thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.answering.sandbox.protocol import Answer
    from motiontrace.attribution.video import VideoLimits


def inspect(path: Path, *, limits: VideoLimits) -> Answer:
    """Nothing: that the video is not refused is the answer."""
    inspect_video(path, limits)
    return None, b""


def read(path: Path, *, limits: VideoLimits, frames: int, height: int, width: int, fps: float | None) -> Answer:
    """`{"source_index": [...], "info": {...}}`, and the frames' bytes."""
    video = read_video(path, frames=frames, height=height, width=width, fps=fps, limits=limits)
    return {"source_index": video.source_index, "info": asdict(video.info)}, video.frames.data


def still(path: Path, *, limits: VideoLimits, side: int) -> Answer:
    """A JPEG's bytes."""
    return None, thumbnail(path, side=side, limits=limits)
