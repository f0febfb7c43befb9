"""How much and how smoothly a video moves, measured by optical flow.

After VBench (Huang et al., "VBench: Comprehensive Benchmark Suite for Video Generative Models", CVPR 2024, arXiv
2311.17982), whose measures need two networks. Here OpenCV's dense inverse search replaces RAFT and the frame
interpolator AMT. So compare the figures with each other, not with VBench's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.flow import PRESETS
from motiontrace.attribution.motion import motion_magnitude
from motiontrace.attribution.opencv import cv2
from motiontrace.attribution.recipe import MotionSettings
from motiontrace.curation.comparison.scaling import scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP_SHARE = 0.05  # of a frame's pixels: the fastest ones, whose mean is the frame's speed, as in VBench
LOOKS_A_SECOND = 8.0  # pairs of frames that VBench looks at in a second of video, at most
DYNAMIC_SPEED = 6 / 256 * 8  # short sides a second: VBench's 6 pixels of 256 from one look to the next, at 8 a second
DYNAMIC_PAIRS = 4 / 16  # of the looks: so many have to be that fast


@dataclass(frozen=True)
class MotionMetrics:
    """A video's motion in a few numbers.

    Attributes:
        dynamic_degree: speed of what moves fastest, short sides of the picture a second: the mean over pairs of frames
            of the mean length of the flow in the `TOP_SHARE` of pixels where it is longest. 0: nothing moves.
        dynamic: whether VBench would count the video as dynamic: a quarter of the pairs reach `DYNAMIC_SPEED`.
        smoothness: up to 1: how well each frame is predicted by interpolating between its two neighbours along the
            flow, 1 - mean absolute error / 255 over the pixels where something moves. VBench takes the mean over the
            whole picture, which a small thing does not change. 1 where nothing moves, None for under three frames.
        steadiness: up to 1: how little the rest flickers, 1 - mean absolute difference between neighbouring frames /
            255 over the pixels where nothing moves (VBench: temporal flickering, of whole still videos). None where
            there is no such pixel, or one frame.
    """

    dynamic_degree: float
    dynamic: bool
    smoothness: float | None
    steadiness: float | None


def motion_metrics(frames: NDArray[np.uint8], fps: float, settings: MotionSettings = MotionSettings()) -> MotionMetrics:
    """Measures one video.

    Args:
        frames: RGB uint8 [F, H, W, 3], any size; measured at a short side of 128 to 256 pixels.
        fps: frames a second, > 0.
        settings: of the flow. What it does not believe to move has no speed.

    Raises:
        ValueError: `fps` is not positive, or `frames` are not RGB pictures.
    """
    if fps <= 0 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(f"fps={fps} has to be positive, and frames {frames.shape} [F, H, W, 3]")
    pictures = scaled(frames, settings.short_side)
    moving = motion_magnitude(pictures, settings)
    interval = max(1, round(fps / LOOKS_A_SECOND))
    looks = moving if interval == 1 else motion_magnitude(pictures[::interval], settings)
    speeds = _speeds(looks[:-1], fps / interval)
    return MotionMetrics(
        dynamic_degree=float(np.mean(speeds)) if len(speeds) else 0.0,
        dynamic=bool(len(speeds)) and int(np.sum(speeds > DYNAMIC_SPEED)) >= max(1, round(DYNAMIC_PAIRS * len(looks))),
        smoothness=_smoothness(pictures, moving, settings),
        steadiness=_steadiness(pictures, moving),
    )


def _speeds(magnitude: NDArray[np.float32], looks_a_second: float) -> NDArray[np.float64]:
    """Short sides a second of the fastest pixels of each [H, W]: float64 [pairs]."""
    pairs, height, width = magnitude.shape
    count = max(1, int(height * width * TOP_SHARE))
    fastest = np.partition(magnitude.reshape(pairs, height * width), -count, axis=1)[:, -count:]
    return fastest.mean(axis=1, dtype=np.float64) / min(height, width) * looks_a_second


def _smoothness(pictures: NDArray[np.uint8], magnitude: NDArray[np.float32], settings: MotionSettings) -> float | None:
    if len(pictures) < 3:
        return None
    between = _Interpolator(settings.preset, *pictures.shape[1:3])
    error, pixels = 0.0, 0
    for index in range(1, len(pictures) - 1):
        # Where it moved before, or moves after: also where a thing should be by its path, and is not.
        moves = (magnitude[index - 1] > 0) | (magnitude[index] > 0)
        if not moves.any():
            continue
        predicted = between.middle(pictures[index - 1], pictures[index + 1])
        error += float(np.abs(predicted - pictures[index])[moves].sum(dtype=np.float64)) / 3
        pixels += int(moves.sum())
    return 1 - error / pixels / 255 if pixels else 1.0


def _steadiness(pictures: NDArray[np.uint8], magnitude: NDArray[np.float32]) -> float | None:
    if len(pictures) < 2:
        return None
    error, pixels = 0.0, 0
    for index in range(len(pictures) - 1):
        # What something has just left or is about to reach changes without flickering.
        moves = (magnitude[index] > 0) | (magnitude[index + 1] > 0)
        still = ~cv2.dilate(moves.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        difference = cv2.absdiff(pictures[index], pictures[index + 1])
        error += float(difference[still].sum(dtype=np.float64)) / 3
        pixels += int(still.sum())
    return 1 - error / pixels / 255 if pixels else None


class _Interpolator:
    """The picture half-way between two, along the flow.

    The flow from the middle to either side is taken from both flows between the sides, as in Super SloMo (Jiang et
    al., CVPR 2018, equation 4 at t = 1/2), and the two pictures fetched along it are averaged.
    """

    def __init__(self, preset: str, height: int, width: int) -> None:
        self._estimator = cv2.DISOpticalFlow.create(PRESETS[preset])
        self._rows, self._columns = np.mgrid[:height, :width].astype(np.float32)

    def middle(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 [H, W, 3] before and after -> float32 [H, W, 3] in the middle, grey levels."""
        here, there = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after))
        half = (self._estimator.calc(here, there, None) - self._estimator.calc(there, here, None)) / 4
        return cv2.addWeighted(self._fetch(before, -half), 0.5, self._fetch(after, half), 0.5, 0)

    def _fetch(self, picture: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float32]:
        moved: NDArray[np.float32] = cv2.remap(
            picture.astype(np.float32),
            self._columns + flow[..., 0],
            self._rows + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return moved
