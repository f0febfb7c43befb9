"""Optical flow between two pictures: how far each pixel is displaced, where that is seen, and where it is consistent.

Dense inverse search (DIS) finds the displacement of every pixel to the next frame. It finds one even where nothing
moves: on a bare wall, noise, a codec's key frame or flickering light cause displacements of many pixels. So the flow
also says where a displacement is seen: at pixels that match visibly better with the displacement than without it.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from motiontrace.attribution.camera import camera_displacement, camera_motion, stabilised
from motiontrace.attribution.opencv import cv2

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
SEEN_GAIN = 4.0  # grey levels of 255 by which a displacement that is seen betters the match
SEEN_PATCH = 5  # pixels: side of the square over which the match is judged
SEEN_DETAIL = 31  # pixels: side of the square whose mean is taken off first, so that changing light is no motion
UNSURE = 0.1  # of the camera's displacement: what is left of less is within the error of its fit
# Sundaram, Brox and Keutzer (2010): forward and backward flow may differ by this share of their lengths, squared,
CONSISTENT_SHARE = 0.01
CONSISTENT_BASE = 0.5  # and by this, pixels squared


class Flow:
    """Displacements between pictures of one size. Not safe to share between threads."""

    def __init__(
        self, preset: Literal["ultrafast", "fast", "medium"], height: int, width: int, *, compensate: bool = False
    ) -> None:
        """With `compensate`, the camera's motion is subtracted from displacements."""
        self._estimator = cv2.DISOpticalFlow.create(PRESETS[preset])
        self._compensate = compensate
        self._rows, self._columns = np.mgrid[:height, :width].astype(np.float32)

    def between(
        self, here: NDArray[np.uint8], there: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """From one grey picture uint8 [H, W] to another.

        Returns:
            the displacement in pixels, float32 [H, W], and where it is seen, 0 or 1, uint8 [H, W].
        """
        flow = self._estimator.calc(here, there, None)
        camera = camera_motion(here, flow) if self._compensate else None
        if camera is not None:
            there = stabilised(there, here, camera)
            flow = self._estimator.calc(here, there, None)
        displacement: NDArray[np.float32] = np.hypot(flow[..., 0], flow[..., 1])
        if camera is not None:
            displacement[displacement < UNSURE * camera_displacement(camera, *here.shape)] = 0
        before = _detail(here)
        after = _detail(there)
        gain = np.abs(after - before) - np.abs(self._fetched(after, flow) - before)
        return displacement, (cv2.blur(gain, (SEEN_PATCH, SEEN_PATCH)) > SEEN_GAIN).astype(np.uint8)

    def consistency(self, here: NDArray[np.uint8], there: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How well the flow back from `there` undoes the flow from `here`, both grey uint8 [H, W].

        Returns:
            float32 [H, W] in [0, 1]: exp(-d^2 / (0.01 (|f|^2 + |b|^2) + 0.5)) of d = f + b, with b looked up where f
            leads; 1 where they agree, and exp(-1) where they differ by what the usual check just allows.
        """
        forward = self._estimator.calc(here, there, None)
        backward = self._fetched(self._estimator.calc(there, here, None), forward)
        apart = np.square(forward + backward).sum(-1)
        lengths = np.square(forward).sum(-1) + np.square(backward).sum(-1)
        confidence: NDArray[np.float32] = np.exp(-apart / (CONSISTENT_SHARE * lengths + CONSISTENT_BASE))
        return confidence

    def _fetched(self, values: NDArray[np.float32], flow: NDArray[np.float32]) -> NDArray[np.float32]:
        """`values` [H, W, ...] at the places that `flow` leads to from each pixel."""
        found: NDArray[np.float32] = cv2.remap(
            values,
            self._columns + flow[..., 0],
            self._rows + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return found


def _detail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A grey picture without its local mean: float32 [H, W]."""
    picture = grey.astype(np.float32)
    detail: NDArray[np.float32] = picture - cv2.blur(picture, (SEEN_DETAIL, SEEN_DETAIL))
    return detail
