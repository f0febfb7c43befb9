"""The losses that are differentiated: those of clips under their captions, by the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.gradient import motion_loss, weighted_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from motiontrace.attribution.families import VideoDiffusionModel
    from motiontrace.attribution.recipe import Recipe

_PROMPTS_KEPT = 8  # captions seldom repeat, and one embedding of Wan takes 8 MB


@dataclass(frozen=True)
class Clips:
    """The inputs of the loss; each list has one entry for each clip."""

    videos: Sequence[NDArray[np.uint8]]
    """The frames that the model sees, [F, height, width, 3]."""
    weights: Sequence[torch.Tensor]
    """Motion weights on the latent grid, float32 [f, h, w]."""
    captions: Sequence[str]
    noise_seeds: Sequence[Sequence[int]]
    """32-bit words that seed each clip's own noise; unused where the recipe's noise is shared."""


class MotionObjective:
    """The losses of a model by a recipe, under its noise. Not safe to share between threads."""

    def __init__(self, model: VideoDiffusionModel, recipe: Recipe) -> None:
        """Raises ModelError where the model's latents are not what the recipe takes."""
        self._model, self._recipe = model, recipe
        self.latent_shape = model.latent_shape(recipe.frames, recipe.height, recipe.width)
        channels, latent_frames = self.latent_shape[:2]
        if recipe.error == "frame_difference" and latent_frames < 2:
            raise ModelError(
                f"error frame_difference takes two latent frames or more, and {recipe.frames} frames are"
                f" {latent_frames}: give more frames, or error plain"
            )
        if recipe.channel_scales is not None and len(recipe.channel_scales) != channels:
            scales = len(recipe.channel_scales)
            raise ModelError(f"the recipe has channel_scales of {scales} channels, and the latents have {channels}")
        self._scales = None if recipe.channel_scales is None else torch.tensor(recipe.channel_scales)
        self._encode_prompt = lru_cache(_PROMPTS_KEPT)(model.encode_prompt)
        # RandomState is frozen by numpy's policy: the noise stays the same on every device and version.
        noise = np.random.RandomState(recipe.noise_seed).standard_normal((recipe.noise_draws, *self.latent_shape))
        self._noise = torch.from_numpy(noise.astype(np.float32))
        self._passes = list(enumerate(product(recipe.timesteps, range(recipe.noise_draws))))

    def terms(self, clips: Clips, heard: list[torch.Tensor] | None = None) -> Iterator[Callable[[], torch.Tensor]]:
        """The motion losses [B] at each timestep and noise, over their number; `heard` collects them undivided."""
        latent, weight, prompt = self._encode(clips)

        def term(place: int, timestep: float, draw: int) -> torch.Tensor:
            noise = self._noise_of(clips, place, draw)
            losses = motion_loss(
                *self._predict(latent, prompt, timestep, noise),
                weight,
                self._recipe.frames,
                frame_difference=self._recipe.error == "frame_difference",
                scales=self._scales,
            )
            if heard is not None:
                heard[place:] = [losses.detach()]
            return losses / len(self._passes)

        for place, (timestep, draw) in self._passes:
            yield partial(term, place, timestep, draw)

    @torch.no_grad()
    def channel_errors(self, clips: Clips) -> torch.Tensor:
        """The mean weighted squared error of each latent channel, not scaled: float32 [B, C] on the CPU."""
        latent, weight, prompt = self._encode(clips)
        difference = self._recipe.error == "frame_difference"
        errors = [
            weighted_error(
                *self._predict(latent, prompt, timestep, self._noise_of(clips, place, draw)),
                weight,
                frame_difference=difference,
            )
            for place, (timestep, draw) in self._passes
        ]
        return torch.stack([error.mean((2, 3, 4)) for error in errors]).mean(0).cpu()

    def _noise_of(self, clips: Clips, place: int, draw: int) -> torch.Tensor:
        """The noise of a pass at the `place`-th timestep: [B or 1, *latent shape]."""
        if self._recipe.noise == "shared":
            return self._noise[draw][None]
        # Drawn anew in every pass: keeping the noise of all passes would take the memory of as many latents.
        seeds = ([self._recipe.noise_seed, place, *words] for words in clips.noise_seeds)
        drawn = (np.random.RandomState(seed).standard_normal(self.latent_shape) for seed in seeds)
        return torch.stack([torch.from_numpy(noise.astype(np.float32)) for noise in drawn])

    def _encode(self, clips: Clips) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, weights and prompt embeddings."""
        # One clip at a time: the encoders take more memory for a clip than the denoiser for a small batch.
        latent = torch.cat([self._model.encode_video(torch.from_numpy(video)[None]) for video in clips.videos])
        told = clips.captions if self._recipe.caption == "own" else [""] * len(clips.captions)
        return latent, torch.stack(list(clips.weights)), torch.cat([self._encode_prompt(caption) for caption in told])

    def _predict(
        self, latent: torch.Tensor, prompt: torch.Tensor, timestep: float, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The denoiser's prediction, and its target."""
        noise = noise.to(latent)
        prediction = self._model.predict(self._model.add_noise(latent, noise, timestep), timestep, prompt)
        return prediction, self._model.target(latent, noise, timestep)
