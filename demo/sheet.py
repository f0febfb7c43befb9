"""Contact sheets: videos as film strips with a line of words each, to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from motiontrace.attribution.motion import motion_magnitude, overlay
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.attribution.video import read_video

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.documents.queries import Query

STRIP_FRAMES, SIDE, LINE = 9, 96, 18  # pictures a strip; pixels of a picture and of the line above it


def read_strip(path: Path, *, heat: bool = False) -> NDArray[np.uint8]:
    """Frames of a video for a strip, uint8 [STRIP_FRAMES, SIDE, SIDE, 3]; `heat` lays the motion weight over them."""
    frames = read_video(path, frames=STRIP_FRAMES, height=2 * SIDE, width=2 * SIDE).frames
    if heat:
        frames = overlay(frames, motion_magnitude(frames, MotionSettings()))
    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames])


def write_sheet(path: Path, strips: Sequence[tuple[str, NDArray[np.uint8]]]) -> None:
    """Writes (words, frames [F, SIDE, SIDE, 3]) strips below each other as a PNG."""
    rows = []
    for words, frames in strips:
        line = np.full((LINE, SIDE * len(frames), 3), 255, np.uint8)
        cv2.putText(line, words, (2, LINE - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
        rows += [line, np.concatenate(list(frames), axis=1)]
    if not cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1]):
        raise OSError(f"{path} cannot be written")


def write_answer(path: Path, video: Path, answer: Query, clips: Path) -> None:
    """Writes a query with its motion weight, and four clips of either end, as a sheet; `clips` holds ID.mp4."""
    strips = [(f"query: {answer.prompt}", read_strip(video)), ("its motion weight", read_strip(video, heat=True))]
    said = {"teaches": "taught it", "fights": "fights it"}
    for end, hits in (("most related", answer.top[:4]), ("least related", answer.bottom[:4])):
        for hit in hits:
            does = end if hit.stands_out is None else said[hit.stands_out]
            strips.append((f"{does}: {hit.score:+.2f} {hit.caption}", read_strip(clips / f"{hit.id}.mp4")))
    write_sheet(path, strips)
