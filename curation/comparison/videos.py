"""Generated videos on disk: exactly as generated, to be measured, and as H.264, to be looked at."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from motiontrace.attribution.motion import upscale_factor
from motiontrace.attribution.opencv import cv2

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHOWN_SIDE = 192  # pixels: smaller videos are enlarged to it, as players make mud of them and H.264 loses their colours


def write_exact(path: Path, frames: NDArray[np.uint8]) -> None:
    """Writes RGB uint8 [F, H, W, 3] without loss (FFV1 in Matroska); it is there whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    options = {"threads": "1"}
    _write(draft, frames, 1.0, container="matroska", codec="ffv1", pixels="bgr0", options=options)
    draft.replace(path)


def read_exact(path: Path) -> NDArray[np.uint8] | None:
    """What `write_exact` wrote; None where there is no such file, or it is damaged."""
    try:
        with av.open(_name(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    except (OSError, ValueError):  # PyAV's errors are both
        return None


def write_playable(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Writes RGB uint8 [F, H, W, 3] as H.264 that browsers play; small frames enlarged."""
    factor = upscale_factor(frames.shape[1], frames.shape[2], SHOWN_SIDE)
    # H.264 in 4:2:0 has even sides.
    height, width = (side * factor // 2 * 2 for side in frames.shape[1:3])
    shown = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in frames]
    x264 = "libx264" in av.codecs_available
    options = {"crf": "18", "threads": "1", "movflags": "+faststart"} if x264 else {}
    codec = "libx264" if x264 else "h264"
    draft = path.with_name(f".{path.name}.part")
    _write(draft, np.stack(shown), fps, container="mp4", codec=codec, pixels="yuv420p", options=options)
    draft.replace(path)


def _name(path: Path) -> str:
    """A path as FFmpeg takes it: one that begins with something before a colon would be an address to it."""
    return str(path.absolute())


def _write(
    path: Path,
    frames: NDArray[np.uint8],
    fps: float,
    *,
    container: str,
    codec: str,
    pixels: str,
    options: dict[str, str],
) -> None:
    with av.open(_name(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
