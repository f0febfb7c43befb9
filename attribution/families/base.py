"""What the method needs of a text-to-video diffusion model, whatever its family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class VideoDenoiser(Protocol):
    """A denoiser as it was trained, on latents and prompt embeddings, wherever they come from.

    Shapes: B batch, C latent channels, f h w the latent grid, L text tokens, D text width. A timestep is one number for
    all samples, or float32 [B] with one for each; it lies from 0 to `train_timesteps`.
    """

    denoiser: torch.nn.Module
    train_timesteps: int
    modulation_tables: tuple[str, ...]
    """Parameters of the denoiser with a first axis of length 1 that it adds to values whose first axis is the batch."""

    def add_noise(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """The latent at `timestep`, as the model was trained; shapes of `latent`."""
        ...

    def target(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """What the denoiser is trained to predict there; shape of `latent`."""
        ...

    def predict(self, noisy: torch.Tensor, timestep: float | torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """The denoiser's prediction, differentiable in its parameters; shape of `noisy`.

        `prompt` [B, L, D] has an embedding for each sample, [1, L, D] one for all.
        """
        ...


class VideoDiffusionModel(VideoDenoiser, Protocol):
    """A loaded checkpoint: a frozen encoder pair around a denoiser whose parameters are attributed."""

    temporal_compression: int
    """Video frames behind one latent frame (the first latent frame stands for the first video frame alone)."""

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of a video of that size; raises ModelError that names the sizes that fit."""
        ...

    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [B, F, height, width, 3] -> normalised latent float32 [B, C, f, h, w], without sampling noise."""
        ...

    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """Prompt -> embedding [1, L, D], L the same for every prompt, as the family's own pipeline makes it."""
        ...
