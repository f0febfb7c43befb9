"""The Wan family (2.1 and 2.2 text-to-video) on diffusers' own classes.

Wan is trained by flow matching: at timestep t the latent is z = (1 - s) h + s e with s = t / 1000, and the target
is the velocity e - h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.documents import read_json
from motiontrace.attribution.families.family import TRAIN_TIMESTEPS
from motiontrace.attribution.families.loading import empty_denoiser, load_part, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motiontrace.attribution.families.checkpoint import Checkpoint

_LONGEST_PROMPT = 512  # tokens; what Wan was trained with and its pipeline's default


class WanDenoiser:
    """What a Wan does with latents and prompt embeddings, wherever they come from; see the protocol."""

    train_timesteps = TRAIN_TIMESTEPS

    def __init__(self, denoiser: WanTransformer3DModel, *, token_timesteps: bool) -> None:
        self.denoiser = denoiser
        self._token_timesteps = token_timesteps
        # With a timestep a token the tables meet the tokens' axis first: there a batch is one clip.
        tables = (name for name, _ in denoiser.named_parameters() if name.endswith("scale_shift_table"))
        self.modulation_tables = () if token_timesteps else tuple(tables)

    @classmethod
    def load_denoiser(
        cls, checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: torch.dtype, device: torch.device
    ) -> WanDenoiser:
        """The denoiser that serves `timesteps`, without the encoders."""
        _refuse_other_training(checkpoint)
        part = checkpoint.denoiser_folder(timesteps)
        transformer = load_part(checkpoint, part, dtype=dtype, device=device)
        return WanDenoiser(transformer, token_timesteps=checkpoint.token_timesteps)

    def add_noise(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """See the protocol: the straight path from the latent to the noise."""
        sigma = timestep / self.train_timesteps
        if isinstance(sigma, torch.Tensor):
            sigma = sigma.to(latent).view(-1, 1, 1, 1, 1)
        return (1 - sigma) * latent + sigma * noise

    def target(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """See the protocol: the velocity, the same at every timestep."""
        return noise - latent

    def predict(self, noisy: torch.Tensor, timestep: float | torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """See the protocol."""
        batch = noisy.shape[0]
        shape: tuple[int, ...] = (batch,)
        if self._token_timesteps:  # Wan 2.2 TI2V takes a timestep a token; text-to-video sets them all alike
            patch = self.denoiser.config.patch_size
            shape = (batch, noisy[0, 0].numel() // (patch[0] * patch[1] * patch[2]))
        if isinstance(timestep, torch.Tensor):
            timesteps = timestep.to(noisy.device).view(-1, *[1] * (len(shape) - 1)).expand(shape)
        else:
            timesteps = torch.full(shape, timestep, device=noisy.device)
        states = prompt.expand(batch, -1, -1)
        output: torch.Tensor = self.denoiser(noisy.to(self.denoiser.dtype), timesteps, states, return_dict=False)[0]
        return output


class WanModel(WanDenoiser):
    """A Wan checkpoint; see `motiontrace.attribution.families.base.VideoDiffusionModel`."""

    def __init__(self, pipeline: WanPipeline, denoiser: WanTransformer3DModel, *, token_timesteps: bool) -> None:
        super().__init__(denoiser, token_timesteps=token_timesteps)
        self._pipeline = pipeline
        self._vae: AutoencoderKLWan = pipeline.vae
        self.temporal_compression: int = self._vae.config.scale_factor_temporal
        self._prompt_tokens = min(_LONGEST_PROMPT, pipeline.tokenizer.model_max_length)
        self._device = self._vae.device

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        *,
        timesteps: Sequence[float],
        dtype: torch.dtype,
        device: torch.device,
        weights: bool = True,
    ) -> WanModel:
        """Loads a checkpoint.

        Wan 2.2 A14B has one transformer for noisy and one for clean timesteps: the one that serves `timesteps` is
        loaded; ModelError where they need both. Without `weights` the denoiser has none and can predict nothing: it
        is there for what the encoders ask it.
        """
        _refuse_other_training(checkpoint)
        part = checkpoint.denoiser_folder(timesteps)
        if weights:
            transformer = load_part(checkpoint, part, dtype=dtype, device=device)
        else:
            transformer = empty_denoiser(checkpoint, part, dtype)
        # The autoencoder stays in float32: in half precision Wan's loses detail, and it is a small part of the cost.
        vae = load_part(checkpoint, "vae", dtype=torch.float32, device=device)
        text_encoder = load_part(checkpoint, "text_encoder", dtype=dtype, device=device)
        tokenizer = load_tokenizer(checkpoint)
        # The pipeline without its denoiser: its own prompt cleaning and padding are used as they are.
        pipeline = WanPipeline(tokenizer, text_encoder, vae, FlowMatchEulerDiscreteScheduler(), transformer=None)
        return cls(pipeline, transformer, token_timesteps=checkpoint.token_timesteps)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """See the protocol."""
        patch = self.denoiser.config.patch_size
        space, time = self._vae.config.scale_factor_spatial, self.temporal_compression
        step = (space * patch[1], space * patch[2])
        # diffusers' Wan autoencoder encodes one frame, then chunks of four.
        every = max(4, time)
        if frames % every != 1 or height % step[0] or width % step[1]:
            nearest = max(1, round((frames - 1) / every)) * every + 1
            fit = [max(size, round(length / size) * size) for length, size in zip((height, width), step, strict=True)]
            raise ModelError(
                f"this checkpoint cannot take {frames} frames of {width}x{height}: frames must be a multiple of"
                f" {every} plus 1, height of {step[0]} and width of {step[1]}. The nearest is {nearest} frames of"
                f" {fit[1]}x{fit[0]}."
            )
        return self._vae.config.z_dim, (frames - 1) // time + 1, height // space, width // space

    @torch.no_grad()
    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """See the protocol; normalised with the autoencoder's own latent statistics, as the pipeline does."""
        video = frames.to(self._device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        latent = self._vae.encode(video).latent_dist.mode()
        statistics = torch.tensor([self._vae.config.latents_mean, self._vae.config.latents_std], device=latent.device)
        mean, std = statistics.view(2, 1, -1, 1, 1, 1)
        return (latent - mean) / std

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """See the protocol."""
        embedding, _ = self._pipeline.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self._prompt_tokens, device=self._device
        )
        return embedding.to(self.denoiser.dtype)


def _refuse_other_training(checkpoint: Checkpoint) -> None:
    """Raises ModelError unless the checkpoint's scheduler is one of flow matching."""
    file = checkpoint.folder / "scheduler" / "scheduler_config.json"
    config = read_json(file)
    name, prediction = config.get("_class_name"), config.get("prediction_type")
    if not (isinstance(name, str) and name.startswith("FlowMatch")) and prediction != "flow_prediction":
        raise ModelError(
            f"{file} is of {name!r} with prediction_type {prediction!r}; Wan checkpoints are trained by flow matching"
            " (flow_prediction). Is this a Wan checkpoint?"
        )
