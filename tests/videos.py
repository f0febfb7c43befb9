"""Real mp4 files, made with PyAV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SIDE, FRAMES = 64, 12


def write_video(path: Path, pictures: np.ndarray) -> Path:
    """`pictures`: uint8 [F, height, width, 3] RGB, written as H.264 at 12 frames a second."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=12)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def moving_square(path: Path, dx: float, dy: float, colour: tuple[int, int, int] = (220, 60, 40)) -> Path:
    """A textured square that moves by (dx, dy) pixels a frame on grey."""
    texture = np.random.default_rng(0).integers(0, 60, (20, 20, 1), dtype=np.uint8)
    square = np.clip(np.array(colour, dtype=np.int16) - texture, 0, 255).astype(np.uint8)
    pictures = np.full((FRAMES, SIDE, SIDE, 3), 127, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        x = round(22 + dx * (number - FRAMES / 2)) % (SIDE - 20)
        y = round(22 + dy * (number - FRAMES / 2)) % (SIDE - 20)
        picture[y : y + 20, x : x + 20] = square
    return write_video(path, pictures)
