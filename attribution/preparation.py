"""Prepares a clip for the model: decodes it, measures its motion and brings the weight to the latent grid."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.attribution.motion import (
    MotionSummary,
    clip_weight,
    motion_magnitude,
    summarise,
    to_latent_grid,
    upscale_factor,
)
from motiontrace.attribution.region import MotionRegion, motion_region
from motiontrace.attribution.samples import Samples
from motiontrace.attribution.video import DecodedVideo, VideoInfo, VideoReader, read_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from motiontrace.attribution.recipe import MotionSettings, Recipe

# Pixels. A few pictures lie far apart in time, so that small things move by more than their size. Flow finds them at a
# larger size.
CLOSE_SIDE = 480


@dataclass(frozen=True)
class PreparedClip:
    """A clip that is ready for the model. The CPU prepares the next clip while this one is differentiated."""

    frames: NDArray[np.uint8]
    """The frames that the model sees, [F, height, width, 3]."""
    weight: torch.Tensor
    """The motion weight on the latent grid, float32 [f, h, w] in [0, 1]."""
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    """When and where it moves; None where nothing does."""
    seconds: dict[str, float]
    noise_seed: tuple[int, ...]
    """Words that seed the clip's own noise, from the frames that the model sees. Empty where clips share noise."""
    backward_weight: torch.Tensor | None = None
    """The weight of the clip played backwards, like `weight`; None where the recipe has no contrast."""


def prepare_clip(
    path: Path,
    recipe: Recipe,
    latent_grid: tuple[int, int, int],
    temporal_compression: int,
    *,
    on_stage: Callable[[str], None],
    decode: VideoReader = read_video,
    query: bool = False,
) -> PreparedClip:
    """Decodes a clip by `decode` and measures its motion, for latents of (f, h, w) `latent_grid`.

    `temporal_compression` is the model's number of video frames for each latent frame. `on_stage` is called with
    "decoding" and "motion" as they begin. `query` is as of `motiontrace.attribution.motion.clip_weight`.
    Raises VideoError where the file cannot be used.
    """
    seconds: dict[str, float] = {}
    scale = upscale_factor(recipe.height, recipe.width, recipe.motion.short_side)

    def decoded(size: int) -> DecodedVideo:
        start = time.perf_counter()
        video = decode(
            path, frames=recipe.frames, height=recipe.height * size, width=recipe.width * size, fps=recipe.fps
        )
        seconds["decoding"] = seconds.get("decoding", 0.0) + time.perf_counter() - start
        return video

    on_stage("decoding")
    video = decoded(scale)
    on_stage("motion")
    start, decoding = time.perf_counter(), seconds["decoding"]
    samples = Samples.of(video.source_index if recipe.motion.repeats == "spread" else range(recipe.frames))
    pictures = samples.pictures(video)
    look = _Look.at(pictures, recipe.motion)
    finer = upscale_factor(recipe.height * scale, recipe.width * scale, CLOSE_SIDE)
    if not look.motion.moves and samples.repeat and finer > 1:
        closer = _Look.at(samples.pictures(decoded(scale * finer)), recipe.motion, finer)
        look = closer if closer.motion.moves else look
    motion = samples.spread_summary(look.motion)
    region = motion_region(samples.spread(look.magnitude), motion, video, recipe.motion.floor)
    weight, backward_weight = clip_weight(pictures, look.magnitude, recipe.motion, query=query), None
    if recipe.contrast == "time_reversed":
        # The mean of both directions gives each picture the same weight in both, so that still parts cancel.
        backward = _Look.at(look.pictures[::-1], recipe.motion, look.finer)
        weight += clip_weight(pictures[::-1], backward.magnitude, recipe.motion, query=query)[::-1]
        weight /= np.float32(2)
        backward_weight = to_latent_grid(samples.spread(weight)[::-1].copy(), latent_grid, temporal_compression)
    on_grid = to_latent_grid(samples.spread(weight), latent_grid, temporal_compression)
    cells = video.frames.reshape(recipe.frames, recipe.height, scale, recipe.width, scale, 3)
    frames = video.frames if scale == 1 else cells.mean((2, 4)).round().astype(np.uint8)
    seed: tuple[int, ...] = ()
    if recipe.noise == "own":
        seed = content_seed(frames)
        if recipe.contrast == "time_reversed":
            # The same in both directions, so that reversing the clip gives the exact opposite.
            seed = min(seed, content_seed(frames[::-1]))
    seconds["motion"] = time.perf_counter() - start - (seconds["decoding"] - decoding)
    return PreparedClip(frames, on_grid, video.info, motion, region, seconds, seed, backward_weight)


@dataclass(frozen=True)
class _Look:
    """The motion between a clip's different pictures, estimated at some size."""

    pictures: NDArray[np.uint8]
    """The pictures on which motion was estimated, [P, finer H, finer W, 3]."""
    finer: int
    magnitude: NDArray[np.float32]
    """The motion's magnitude in pixels of the smaller size, [P, H, W]."""
    motion: MotionSummary

    @classmethod
    def at(cls, pictures: NDArray[np.uint8], settings: MotionSettings, finer: int = 1) -> _Look:
        magnitude = motion_magnitude(pictures, settings)
        if finer > 1:
            count, height, width = magnitude.shape
            cells = magnitude.reshape(count, height // finer, finer, width // finer, finer)
            magnitude = cells.mean((2, 4)) / np.float32(finer)
        return cls(pictures, finer, magnitude, summarise(magnitude, settings))


def content_seed(frames: NDArray[np.uint8]) -> tuple[int, ...]:
    """Four 32-bit words of the SHA-256 of `frames` [F, height, width, 3]."""
    digest = hashlib.sha256(np.ascontiguousarray(frames).data).digest()
    return tuple(np.frombuffer(digest[:16], dtype="<u4").tolist())
