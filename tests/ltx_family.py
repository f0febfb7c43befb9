"""A third family, LTX-Video, as small as it may be, and a checkpoint of it: what docs/extending.md says, done.

It is for `tests.test_new_family` alone. Nothing says that its gradients are those of the published model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.base import Key, Part
from motiontrace.attribution.families.flow_matching import FlowMatching, FlowMatchingFamily
from tests.checkpoints import letters, recommend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from motiontrace.attribution.families.checkpoint import Checkpoint


class LTX(FlowMatchingFamily):
    name = "ltx"
    pipeline = "LTXPipeline"
    example = "Lightricks/LTX-Video"
    parts: Mapping[str, Part] = {
        "transformer": Part("diffusers", "LTXVideoTransformer3DModel"),
        "vae": Part("diffusers", "AutoencoderKLLTXVideo"),
        "text_encoder": Part("transformers", "T5EncoderModel", "t5"),
    }
    given_channels = Key("latent_channels", 128)
    taken_channels = Key("in_channels", 128)
    taken_width = Key("caption_channels", 4096)
    frame_rate = 25.0
    prefix = "LTX"
    relatives: Mapping[str, str] = {"LTXImageToVideoPipeline": "starts from an image"}
    converter = "convert_ltx_to_diffusers.py"

    def denoiser(self, checkpoint: Checkpoint, module: Any) -> LTXDenoiser:
        # How far apart in time and space two places of a latent are is asked of the autoencoder alone.
        return LTXDenoiser(module, AutoencoderKLLTXVideo.load_config(checkpoint.folder / "vae"))

    def model(self, checkpoint: Checkpoint, module: Any, encoders: Mapping[str, Any]) -> LTXModel:
        pipeline = LTXPipeline(**encoders, scheduler=FlowMatchEulerDiscreteScheduler(), transformer=module)
        return LTXModel(pipeline, module)

    def temporal_compression(self, pipeline: LTXPipeline) -> int:
        return pipeline.vae_temporal_compression_ratio

    def call_arguments(self, pipeline: LTXPipeline, frames: int) -> dict[str, Any]:
        length = pipeline.tokenizer.model_max_length
        return {"num_frames": frames, "frame_rate": self.frame_rate, "max_sequence_length": length}


class LTXDenoiser(FlowMatching):
    modulation_tables: tuple[str, ...] = ()  # its tables meet the axis of the tokens first

    def __init__(self, denoiser: LTXVideoTransformer3DModel, vae: Mapping[str, Any]) -> None:
        self.denoiser = denoiser
        scaling = vae["spatio_temporal_scaling"]
        self.temporal_compression = vae["patch_size_t"] * 2 ** sum(scaling)
        self._spatial_compression = vae["patch_size"] * 2 ** sum(scaling)

    def predict(self, noisy: torch.Tensor, timestep: float | torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        batch, _, frames, height, width = noisy.shape
        prompt = prompt.expand(batch, -1, -1)
        space = self._spatial_compression
        output = self.denoiser(
            noisy.to(self.denoiser.dtype).flatten(2).transpose(1, 2),  # tokens before channels
            prompt[..., :-1],
            torch.as_tensor(timestep, device=noisy.device).float().expand(batch),
            prompt[..., -1],
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(self.temporal_compression / LTX.frame_rate, space, space),
            return_dict=False,
        )[0]
        return output.transpose(1, 2).unflatten(2, (frames, height, width))


class LTXModel(LTXDenoiser):
    def __init__(self, pipeline: LTXPipeline, denoiser: LTXVideoTransformer3DModel) -> None:
        super().__init__(denoiser, pipeline.vae.config)
        self._pipeline, self._vae = pipeline, pipeline.vae

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        time, space = self.temporal_compression, self._spatial_compression
        if frames % time != 1 or height % 32 or width % 32:
            raise ModelError(f"this checkpoint takes a multiple of {time} plus 1 frames, and sides that 32 divides")
        return self._vae.config.latent_channels, (frames - 1) // time + 1, height // space, width // space

    @torch.no_grad()
    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        video = frames.to(self._vae.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        latent = self._vae.encode(video).latent_dist.mode()
        return LTXPipeline._normalize_latents(latent, self._vae.latents_mean, self._vae.latents_std)

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> torch.Tensor:
        embedding, mask, _, _ = self._pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            max_sequence_length=self._pipeline.tokenizer.model_max_length,
            device=self._vae.device,
        )
        return torch.cat([embedding, mask[..., None].to(embedding)], -1).to(self.denoiser.dtype)


def tiny_ltx(directory: Path) -> Path:
    """An LTX checkpoint of random parameters for 5 frames of 32x32, as motiontrace.json says."""
    torch.manual_seed(0)
    tokenizer = letters(24)
    text = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
        patch_size_t=1,
    )
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=1,
        caption_channels=16,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    LTXPipeline(scheduler, vae, T5EncoderModel(text), tokenizer, transformer).save_pretrained(directory)
    recommend(directory, height=32, width=32, frames=5)
    return directory
