"""The Wan family (2.1 and 2.2 text-to-video) on diffusers' own classes.

Wan is trained by flow matching: at timestep t the latent is z = (1 - s) h + s e with s = t / 1000, and the target
is the velocity e - h.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from transformers import AutoTokenizer, UMT5EncoderModel
from transformers.utils.logging import disable_progress_bar

from attribution.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LOCAL = {"use_safetensors": True, "local_files_only": True}
_LONGEST_PROMPT = 512  # tokens; what Wan was trained with and its pipeline's default


class WanDenoiser:
    """What a Wan does with latents and prompt embeddings, wherever they come from; see the protocol."""

    train_timesteps = 1000

    def __init__(self, denoiser: WanTransformer3DModel, *, token_timesteps: bool) -> None:
        self.denoiser = denoiser
        self._token_timesteps = token_timesteps
        # With a timestep a token the tables meet the tokens' axis first: there a batch is one clip.
        tables = (name for name, _ in denoiser.named_parameters() if name.endswith("scale_shift_table"))
        self.modulation_tables = () if token_timesteps else tuple(tables)

    @classmethod
    def load_denoiser(cls, folder: Path, index: dict[str, Any], *, timesteps: Sequence[float], dtype: torch.dtype,
                      device: torch.device) -> WanDenoiser:  # fmt: skip
        """The denoiser of a diffusers checkpoint folder that serves ``timesteps``, without the encoders."""
        _refuse_other_training(folder)
        transformer = WanTransformer3DModel.from_pretrained(
            folder, subfolder=cls.denoiser_folder(index, timesteps), dtype=dtype, **_LOCAL
        )
        transformer.to(device).eval().requires_grad_(False)
        return WanDenoiser(transformer, token_timesteps=bool(index.get("expand_timesteps", False)))

    @classmethod
    def denoiser_folder(cls, index: dict[str, Any], timesteps: Sequence[float]) -> str:
        """The part of a checkpoint that is attributed at ``timesteps``; ModelError where they need both of two."""
        boundary = index.get("boundary_ratio")
        if boundary is None:
            return "transformer"
        clean = {timestep < boundary * cls.train_timesteps for timestep in timesteps}
        if len(clean) > 1:
            raise ModelError(
                f"this checkpoint has one transformer for timesteps from {boundary * cls.train_timesteps:g} on and one"
                " for those below; give timesteps of one side, and make an index for each"
            )
        return "transformer_2" if clean.pop() else "transformer"

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
    """A Wan checkpoint; see :class:`attribution.families.base.VideoDiffusionModel`."""

    def __init__(self, pipeline: WanPipeline, denoiser: WanTransformer3DModel, *, token_timesteps: bool) -> None:
        super().__init__(denoiser, token_timesteps=token_timesteps)
        self._pipeline = pipeline
        self._vae: AutoencoderKLWan = pipeline.vae
        self.temporal_compression: int = self._vae.config.scale_factor_temporal
        self._prompt_tokens = min(_LONGEST_PROMPT, pipeline.tokenizer.model_max_length)
        self._device = self._vae.device

    @classmethod
    def load(cls, folder: Path, index: dict[str, Any], *, timesteps: Sequence[float], dtype: torch.dtype,
             device: torch.device, weights: bool = True) -> WanModel:  # fmt: skip
        """Loads a diffusers checkpoint folder; ``index`` is its model_index.json.

        Wan 2.2 A14B has one transformer for noisy and one for clean timesteps: the one that serves ``timesteps`` is
        loaded; ModelError where they need both. Weights are read from safetensors only. Without ``weights`` the
        denoiser has none and can predict nothing: it is there for what the encoders ask it.
        """
        disable_progress_bar()  # a bar a component garbles logs and the indexer's own bar
        part = cls.denoiser_folder(index, timesteps)
        if weights:
            transformer = WanTransformer3DModel.from_pretrained(folder, subfolder=part, dtype=dtype, **_LOCAL)
            transformer.to(device)
        else:
            with torch.device("meta"):
                config = WanTransformer3DModel.load_config(folder, subfolder=part, local_files_only=True)
                transformer = WanTransformer3DModel.from_config(config)
            torch.nn.Module.to(transformer, dtype)  # diffusers' own warns of weights, and there are none
        # The autoencoder stays in float32: in half precision Wan's loses detail, and it is a small part of the cost.
        vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", dtype=torch.float32, **_LOCAL)
        text_encoder = UMT5EncoderModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype, **_LOCAL)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, subfolder="tokenizer", trust_remote_code=False, local_files_only=True
        )
        _refuse_other_training(folder)
        for encoder in (vae, text_encoder):
            encoder.to(device)
        for module in (transformer, vae, text_encoder):
            module.eval().requires_grad_(False)
        # The pipeline without its denoiser: its own prompt cleaning and padding are used as they are.
        pipeline = WanPipeline(tokenizer, text_encoder, vae, FlowMatchEulerDiscreteScheduler(), transformer=None)
        return cls(pipeline, transformer, token_timesteps=bool(index.get("expand_timesteps", False)))

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


def _refuse_other_training(folder: Path) -> None:
    """Raises ModelError unless the checkpoint's scheduler is one of flow matching."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    name, prediction = config.get("_class_name", ""), config.get("prediction_type")
    if not name.startswith("FlowMatch") and prediction != "flow_prediction":
        raise ModelError(
            f"{folder}/scheduler is {name} with prediction_type {prediction!r}; Wan checkpoints are trained by flow"
            " matching (flow_prediction). Is this a Wan checkpoint?"
        )
