"""The Wan family (2.1 and 2.2 text-to-video) on diffusers' own classes, trained by flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.base import Key, Part
from motiontrace.attribution.families.flow_matching import FlowMatching, FlowMatchingFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel

    from motiontrace.attribution.families.checkpoint import Checkpoint

_LONGEST_PROMPT = 512  # tokens; what Wan was trained with and its pipeline's default


class Wan(FlowMatchingFamily):
    """See `Family`. Wan 2.2 A14B has one denoiser for noisy and one for clean timesteps."""

    name = "wan"
    pipeline = "WanPipeline"
    example = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    denoisers = ("transformer", "transformer_2")
    parts: Mapping[str, Part] = {
        "transformer": Part("diffusers", "WanTransformer3DModel"),
        "transformer_2": Part("diffusers", "WanTransformer3DModel"),
        "vae": Part("diffusers", "AutoencoderKLWan"),
        "text_encoder": Part("transformers", "UMT5EncoderModel", "umt5"),
    }
    given_channels = Key("z_dim", 16)
    taken_width = Key("text_dim", 4096)
    conditions = ("image_dim", "added_kv_proj_dim", "pos_embed_seq_len")
    frame_rate = 16.0
    # In half precision the autoencoder loses detail, and it is a small part of the cost.
    float32_parts = ("vae",)
    prefix = "Wan"
    relatives: Mapping[str, str] = {
        "WanImageToVideoPipeline": "starts from an image",
        "WanVACEPipeline": "is steered by videos and masks",
        "WanAnimatePipeline": "animates a picture of a person",
        "LucyEditPipeline": "edits a video",
        "ChronoEditPipeline": "edits an image",
        "SkyReelsV2ImageToVideoPipeline": "starts from an image",
    }
    same_weights = ("WanVideoToVideoPipeline",)
    makers_names = ("blocks.0.self_attn.", "head.modulation", "text_embedding.0.", "token_embedding.")
    converter = "convert_wan_to_diffusers.py"

    def denoiser(self, checkpoint: Checkpoint, module: Any) -> WanDenoiser:
        """See `Family`."""
        return WanDenoiser(module, token_timesteps=checkpoint.token_timesteps)

    def model(self, checkpoint: Checkpoint, module: Any, encoders: Mapping[str, Any]) -> WanModel:
        """See `Family`."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        # The pipeline without its denoiser: its own prompt cleaning and padding are used as they are.
        pipeline = self.pipeline_class()(**encoders, scheduler=FlowMatchEulerDiscreteScheduler(), transformer=None)
        return WanModel(pipeline, module, token_timesteps=checkpoint.token_timesteps)

    def pipeline_arguments(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """See `Family`."""
        return {"boundary_ratio": checkpoint.boundary, "expand_timesteps": checkpoint.token_timesteps}

    def call_arguments(self, pipeline: WanPipeline, frames: int) -> dict[str, Any]:
        """See `Family`."""
        # diffusers rounds num_frames to a multiple of the compression plus one; without compression, one up.
        asked = frames - 1 if self.temporal_compression(pipeline) == 1 else frames
        return {"num_frames": asked, "max_sequence_length": _prompt_tokens(pipeline)}

    def lora_arguments(self, denoiser: str) -> dict[str, Any]:
        """See `Family`."""
        return {"load_into_transformer_2": True} if denoiser == "transformer_2" else {}


class WanDenoiser(FlowMatching):
    """What a Wan does with latents and prompt embeddings, wherever they come from; see `VideoDenoiser`."""

    def __init__(self, denoiser: WanTransformer3DModel, *, token_timesteps: bool) -> None:
        self.denoiser = denoiser
        self._token_timesteps = token_timesteps
        # With a timestep a token the tables meet the tokens' axis first: there a batch is one clip.
        tables = (name for name, _ in denoiser.named_parameters() if name.endswith("scale_shift_table"))
        self.modulation_tables = () if token_timesteps else tuple(tables)

    def predict(self, noisy: torch.Tensor, timestep: float | torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """See the protocol."""
        import torch

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
    """A Wan checkpoint; see `VideoDiffusionModel`."""

    def __init__(self, pipeline: WanPipeline, denoiser: WanTransformer3DModel, *, token_timesteps: bool) -> None:
        super().__init__(denoiser, token_timesteps=token_timesteps)
        self._pipeline = pipeline
        self._vae: AutoencoderKLWan = pipeline.vae
        self.temporal_compression: int = self._vae.config.scale_factor_temporal
        self._prompt_tokens = _prompt_tokens(pipeline)
        self._device = self._vae.device

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

    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """See the protocol; normalised with the autoencoder's own latent statistics, as the pipeline does."""
        import torch

        video = frames.to(self._device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        with torch.no_grad():
            latent = self._vae.encode(video).latent_dist.mode()
        statistics = torch.tensor([self._vae.config.latents_mean, self._vae.config.latents_std], device=latent.device)
        mean, std = statistics.view(2, 1, -1, 1, 1, 1)
        return (latent - mean) / std

    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """See the protocol."""
        import torch

        with torch.no_grad():
            embedding, _ = self._pipeline.encode_prompt(
                prompt, do_classifier_free_guidance=False, max_sequence_length=self._prompt_tokens, device=self._device
            )
        return embedding.to(self.denoiser.dtype)


def _prompt_tokens(pipeline: WanPipeline) -> int:
    return int(min(_LONGEST_PROMPT, pipeline.tokenizer.model_max_length))
