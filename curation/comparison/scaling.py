"""The size that videos are measured at: neither figures nor time should follow from how large they were generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.motion import upscale_factor
from motiontrace.attribution.opencv import cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SIDE = 256  # pixels


def scaled(frames: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """Frames as they are measured, uint8 [F, H, W, 3].

    Small ones are enlarged by the least integer that brings their shorter side to `short_side` pixels, as the
    indexer does; a side longer than that is scaled down to `LARGEST_SIDE`.
    """
    height, width = frames.shape[1:3]
    factor: float = upscale_factor(height, width, short_side)
    interpolation = cv2.INTER_CUBIC
    largest = max(LARGEST_SIDE, short_side)
    if min(height, width) > largest:
        factor, interpolation = largest / min(height, width), cv2.INTER_AREA
    if factor == 1:
        return frames
    size = round(width * factor), round(height * factor)
    return np.stack([cv2.resize(frame, size, interpolation=interpolation) for frame in frames])
