"""One clip and its caption in, one motion gradient out, by one recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attribution.errors import RecipeMismatchError
from attribution.families import Checkpoint, VideoDiffusionModel, find_checkpoint, load_model
from attribution.gradient import attributed_parameters, motion_loss, projected_gradient, unit
from attribution.motion import MotionSummary, motion_magnitude, motion_weight, summarise, to_latent_grid, upscale_factor
from attribution.projection import make_projection
from attribution.recipe import Recipe
from attribution.video import VideoInfo, VideoLimits, read_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

STAGES = ("decoding", "motion", "gradient")
_PROMPTS_KEPT = 8  # captions seldom repeat, and an embedding of Wan's is 8 MB


@dataclass(frozen=True)
class PreparedClip:
    """A clip up to the model's door: what the CPU may do for the next clip while this one is differentiated."""

    frames: NDArray[np.uint8]
    """The frames that the model sees, [F, height, width, 3]."""
    weight: torch.Tensor
    """The motion weight on the latent grid, float32 [f, h, w] in [0, 1]."""
    info: VideoInfo
    motion: MotionSummary
    seconds: dict[str, float]


@dataclass(frozen=True)
class ClipGradient:
    """What one clip gave."""

    vector: NDArray[np.float32] | None
    """The motion gradient, float32 [dim] of unit length; None is the outcome "no motion"."""
    loss: float | None
    """The motion loss; None where nothing moves."""
    info: VideoInfo
    motion: MotionSummary
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage."""


def plan_recipe(checkpoint: Checkpoint, settings: Mapping[str, Any], existing: Recipe | None = None) -> Recipe:
    """The recipe for a checkpoint: ``settings`` over the ``existing`` index's recipe or what the checkpoint recommends.

    Nested settings (motion, projection) may be given in part. Hashes the weights. Raises pydantic's
    ValidationError that names a wrong field.
    """
    base = checkpoint.recommended if existing is None else existing.model_dump()
    model = {"family": checkpoint.family, "checkpoint": checkpoint.digest()}
    return Recipe.model_validate(_merged(_merged(base, settings), model))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: _merged(base.get(key, {}), value) for key, value in over.items() if isinstance(value, Mapping)}
    return {**base, **over, **nested}


def load_engine(location: str, recipe: Recipe, *, device: str | None = None) -> MotionEngine:
    """The engine of ``recipe``, with the checkpoint at ``location`` (folder or hub id).

    Raises ModelError where the checkpoint cannot be used, RecipeMismatchError where it is not the recipe's model.
    """
    checkpoint = find_checkpoint(location)
    found = recipe.model_copy(update={"family": checkpoint.family, "checkpoint": checkpoint.digest()})
    if differences := recipe.differences(found):
        raise RecipeMismatchError(
            f"the checkpoint at {location} is not the one the index was built with ({'; '.join(differences)})."
            " Give the checkpoint that was used, or index again with this one under another name."
        )
    model = load_model(checkpoint, timestep=recipe.timestep, dtype=recipe.dtype, device=device)
    return MotionEngine(model, recipe)


class MotionEngine:
    """Computes motion gradients by one recipe. One at a time: not safe to share between threads, save ``prepare``."""

    def __init__(self, model: VideoDiffusionModel, recipe: Recipe) -> None:
        self.recipe = recipe
        self._model = model
        self._latent_shape = model.latent_shape(recipe.frames, recipe.height, recipe.width)
        self._projection = make_projection(recipe.projection)
        self._parameters = attributed_parameters(model.denoiser, recipe.parameters)
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
        self._encode_prompt = lru_cache(_PROMPTS_KEPT)(model.encode_prompt)
        # RandomState is frozen by numpy's policy: the one noise tensor stays the same on every device and version.
        noise = np.random.RandomState(recipe.noise_seed).standard_normal((1, *self._latent_shape))
        self._noise = torch.from_numpy(noise.astype(np.float32))

    def prepare(self, path: Path, *, on_stage: Callable[[str], None] | None = None, limits: VideoLimits = VideoLimits()
                ) -> PreparedClip:  # fmt: skip
        """Decodes a clip and measures its motion. Raises VideoError where the file cannot be used."""
        recipe, seconds, say = self.recipe, {}, on_stage or _silent
        scale = upscale_factor(recipe.height, recipe.width, recipe.motion.short_side)
        say("decoding")
        start = time.perf_counter()
        video = read_video(
            path, frames=recipe.frames, height=recipe.height * scale, width=recipe.width * scale, fps=recipe.fps,
            limits=limits,
        )  # fmt: skip
        seconds["decoding"] = time.perf_counter() - start
        say("motion")
        start = time.perf_counter()
        magnitude = motion_magnitude(video.frames, recipe.motion)
        motion = summarise(magnitude, recipe.motion)
        weight = to_latent_grid(motion_weight(magnitude), self._latent_shape[1:], self._model.temporal_compression)
        cells = video.frames.reshape(recipe.frames, recipe.height, scale, recipe.width, scale, 3)
        frames = video.frames if scale == 1 else cells.mean((2, 4)).round().astype(np.uint8)
        seconds["motion"] = time.perf_counter() - start
        return PreparedClip(frames, weight, video.info, motion, seconds)

    def gradient(self, clip: PreparedClip, caption: str) -> ClipGradient:
        """The motion gradient of a prepared clip under its caption; raises GradientError where it is not finite."""
        if not clip.motion.moves:
            return ClipGradient(None, None, clip.info, clip.motion, dict(clip.seconds))
        start = time.perf_counter()
        loss = self.loss(clip, caption)
        vector = unit(projected_gradient(loss, self._parameters, self._projection))
        seconds = {**clip.seconds, "gradient": time.perf_counter() - start}
        return ClipGradient(vector, loss.item(), clip.info, clip.motion, seconds)

    def loss(self, clip: PreparedClip, caption: str) -> torch.Tensor:
        """The motion loss of a prepared clip, differentiable in the attributed parameters."""
        model, timestep = self._model, self.recipe.timestep
        latent = model.encode_video(torch.from_numpy(clip.frames)[None])
        noise = self._noise.to(latent)
        prompt = self._encode_prompt(caption)
        prediction = model.predict(model.add_noise(latent, noise, timestep), timestep, prompt)
        return motion_loss(prediction, model.target(latent, noise, timestep), clip.weight, self.recipe.frames)

    def compute(self, path: Path, caption: str, *, on_stage: Callable[[str], None] | None = None,
                limits: VideoLimits = VideoLimits()) -> ClipGradient:  # fmt: skip
        """``prepare`` and ``gradient`` in one; ``on_stage`` hears each of STAGES as it begins."""
        clip = self.prepare(path, on_stage=on_stage, limits=limits)
        (on_stage or _silent)("gradient")
        return self.gradient(clip, caption)


def _silent(stage: str) -> None:
    """Hears nothing."""
