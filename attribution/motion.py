"""Where and how much a clip moves: the weight W, and whether it moves at all (docs/method.md#step-3-motion-weight).

Optical flow (`attribution/flow.py`) reports displacements even where nothing moves. So a displacement counts only at
pixels where it is seen, and between such pixels. Elsewhere it is zero, as in frames where nothing is seen to move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.flow import Flow
from motiontrace.attribution.opencv import cv2

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from motiontrace.attribution.recipe import MotionSettings

SEEN_WITHIN = 25  # pixels: gaps up to this width between pixels that are seen to move count too
TOP_SHARE = 0.005  # share of a frame's pixels that have to move
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SEEN_WITHIN, SEEN_WITHIN))
STRETCH = 4  # frames: where neighbours show no motion, slow motion is looked for between frames this far apart


@dataclass(frozen=True)
class MotionSummary:
    """A clip's motion in a few numbers, in pixels a sampled frame at the estimated size.

    Attributes:
        mean: mean magnitude over all frames and pixels.
        peak: the magnitude that `TOP_SHARE` of the pixels reach, in the second-strongest pair of frames.
        moves: whether `peak` reaches the settings' floor; if not, the clip's outcome is "no motion".
        per_frame: mean magnitude of each frame.
    """

    mean: float
    peak: float
    moves: bool
    per_frame: tuple[float, ...]


def upscale_factor(height: int, width: int, short_side: int) -> int:
    """The least integer, 1 or more, that brings the shorter side of `height` x `width` to `short_side`.

    Frames are decoded at that multiple, the motion is estimated there, and the model sees their area mean.
    """
    return max(1, math.ceil(short_side / min(height, width)))


def motion_magnitude(frames: NDArray[np.uint8], settings: MotionSettings) -> NDArray[np.float32]:
    """How far every pixel is displaced to the next sampled frame.

    In the last frame it is the displacement to the frame before, so that in every frame the magnitude lies on the
    thing that moves. Where `settings.camera` is "compensate", the camera's displacement is subtracted.

    Args:
        frames: uint8 [F, H, W, 3] RGB, H and W at least 16.
        settings: how to estimate.

    Returns:
        float32 [F, H, W], pixels, >= 0 and finite; zero where nothing is seen to move, in whole frames where
        nothing is seen to move by `settings.floor`, and for F = 1.
    """
    magnitude = np.zeros(frames.shape[:3], dtype=np.float32)
    grey = _grey(frames)
    flow = _flow(frames, settings)
    pairs = len(frames) - 1
    moving = np.zeros(pairs, dtype=bool)
    for index in range(pairs):
        displacement, seen = flow.between(grey[index], grey[index + 1])
        moving[index] = _reach(displacement * seen) >= settings.floor
        magnitude[index] = displacement * (_around(seen) if moving[index] else 1)
    for start in range(0, pairs, STRETCH):
        end = min(start + STRETCH, pairs)
        if not moving[start:end].any():
            displacement, seen = flow.between(grey[start], grey[end])
            moving[start:end] = _reach(displacement * seen) >= settings.floor * (end - start)
            magnitude[start:end] *= _around(seen)
    magnitude[:-1][~moving] = 0.0
    if pairs and moving[-1]:
        displacement, seen = flow.between(grey[-1], grey[-2])
        magnitude[-1] = displacement * _around(seen)
    return magnitude


def summarise(magnitude: NDArray[np.float32], settings: MotionSettings) -> MotionSummary:
    """Decide whether a clip moves.

    Motion has to show in two pairs of neighbouring frames (or in the only pair there is). A single pair may be a cut,
    or a thing that comes into the last frame, in a clip where nothing else moves.

    Args:
        magnitude: float32 [F, H, W] of `motion_magnitude`.
        settings: those it was made with.
    """
    pairs = sorted((_reach(frame) for frame in magnitude[:-1]), reverse=True)
    peak = pairs[min(1, len(pairs) - 1)] if pairs else 0.0
    per_frame = magnitude.mean(axis=(1, 2), dtype=np.float64).tolist()
    return MotionSummary(
        mean=float(np.mean(per_frame)), peak=peak, moves=peak >= settings.floor, per_frame=tuple(per_frame)
    )


def clip_weight(
    frames: NDArray[np.uint8], magnitude: NDArray[np.float32], settings: MotionSettings, *, query: bool = False
) -> NDArray[np.float32]:
    """The weight of the motion loss at every pixel of a clip, by the settings' `weight` and `confidence`.

    Args:
        frames: uint8 [F, H, W, 3] RGB.
        magnitude: float32 [F, H, W] of `motion_magnitude`.
        settings: those it was made with.
        query: whether the clip is a query; otherwise it is an indexed clip.

    Returns:
        float32 [F, H, W] in [0, 1].
    """
    if settings.weight == "none" or (settings.weight == "query" and not query):
        return np.ones_like(magnitude)
    weight = motion_weight(magnitude)
    if settings.confidence == "forward_backward":
        weight *= flow_confidence(frames, settings)
    return weight


def flow_confidence(frames: NDArray[np.uint8], settings: MotionSettings) -> NDArray[np.float32]:
    """How well the flow to the next sampled frame agrees with the flow back; in the last frame, to the one before.

    It is low where something is covered or comes into view, and where the flow is wrong.

    Args:
        frames: uint8 [F, H, W, 3] RGB, H and W at least 16.
        settings: how to estimate.

    Returns:
        float32 [F, H, W] in [0, 1]; 1 for F = 1.
    """
    grey, flow = _grey(frames), _flow(frames, settings)
    confidence = np.ones(frames.shape[:3], dtype=np.float32)
    if len(grey) > 1:
        for index, here in enumerate(grey):
            confidence[index] = flow.consistency(here, grey[index + 1] if index + 1 < len(grey) else grey[index - 1])
    return confidence


def motion_weight(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """W = (M - min M) / (max M - min M + 1e-6) over all frames and pixels (docs/method.md#step-3-motion-weight).

    Args:
        magnitude: float32 [F, H, W], >= 0.

    Returns:
        float32 [F, H, W] in [0, 1]; all zero where nothing moves.
    """
    low, high = magnitude.min(), magnitude.max()
    weight: NDArray[np.float32] = (magnitude - low) / (high - low + np.float32(1e-6))
    return weight


def to_latent_grid(
    weight: NDArray[np.float32], latent_shape: tuple[int, int, int], temporal_compression: int
) -> torch.Tensor:
    """Bring a weight on video frames to the latent grid of a causal video autoencoder.

    Latent frame 0 stands for video frame 0. Latent frame j >= 1 stands for the r video frames (j-1) r + 1 ... j r and
    gets their mean weight. Space is resized bilinearly with antialiasing.

    Args:
        weight: float32 [F, H, W] with F = 1 + (f-1) r.
        latent_shape: (f, h, w).
        temporal_compression: r >= 1, video frames a latent frame.

    Returns:
        float32 [f, h, w], within the range of `weight`.

    Raises:
        ValueError: F does not fit f and r.
    """
    frames, height, width = weight.shape
    latent_frames, latent_height, latent_width = latent_shape
    if frames != 1 + (latent_frames - 1) * temporal_compression:
        raise ValueError(
            f"{frames} video frames do not fill {latent_frames} latent frames at {temporal_compression} video "
            f"frames each: that takes {1 + (latent_frames - 1) * temporal_compression} frames."
        )
    import torch  # its import takes seconds, and a recipe needs only this module's settings

    video = torch.from_numpy(weight)
    rest = video[1:].reshape(latent_frames - 1, temporal_compression, height, width).mean(dim=1)
    grid = torch.cat([video[:1], rest])[:, None]
    interpolate = torch.nn.functional.interpolate
    return interpolate(grid, (latent_height, latent_width), mode="bilinear", antialias=True)[:, 0]


def overlay(frames: NDArray[np.uint8], magnitude: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the motion weight over the frames as heat, for people to look at.

    Args:
        frames: uint8 [F, H, W, 3] RGB.
        magnitude: float32 [F, H, W] of the same frames.

    Returns:
        uint8 [F, H, W, 3] RGB: untouched where the weight is 0, glowing where it is 1.
    """
    heated = np.empty_like(frames)
    for index, weight in enumerate(motion_weight(magnitude)):
        heat = cv2.applyColorMap((weight * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        opacity = 0.8 * np.sqrt(weight)[..., None]  # the root lets faint motion show
        heated[index] = frames[index] * (1 - opacity) + heat * opacity
    return heated


def _grey(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]


def _flow(frames: NDArray[np.uint8], settings: MotionSettings) -> Flow:
    return Flow(settings.preset, *frames.shape[1:3], compensate=settings.camera == "compensate")


def _reach(displacement: NDArray[np.float32]) -> float:
    """What the displacement [H, W] reaches in `TOP_SHARE` of the pixels, in pixels."""
    return float(np.quantile(displacement, 1 - TOP_SHARE))


def _around(seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`seen` [H, W] with its gaps closed: of a plain thing only the edges are seen to move, not the inside."""
    return cv2.morphologyEx(seen, cv2.MORPH_CLOSE, _DISC)
