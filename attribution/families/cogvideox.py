"""The CogVideoX family (2b, 5b, 1.5-5B text-to-video) on diffusers' own classes.

CogVideoX is trained on a schedule of variances: at timestep t the latent is z = sqrt(a) h + sqrt(1 - a) e with a the
scheduler's cumulated alpha at t, and the target is the velocity sqrt(a) e - sqrt(1 - a) h (v-prediction), or e.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.base import TRAIN_TIMESTEPS, Family, Key, Part, TimestepDraw
from motiontrace.attribution.families.documents import read_json
from motiontrace.attribution.families.loading import load_scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )

    from motiontrace.attribution.families.checkpoint import Checkpoint

_SCHEDULERS = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")  # one schedule of training, two ways to sample
_PREDICTIONS = ("v_prediction", "epsilon")


class CogVideoX(Family):
    """See `Family`. One denoiser serves all timesteps."""

    name = "cogvideox"
    pipeline = "CogVideoXPipeline"
    example = "zai-org/CogVideoX-2b"
    parts: Mapping[str, Part] = {
        "transformer": Part("diffusers", "CogVideoXTransformer3DModel"),
        "vae": Part("diffusers", "AutoencoderKLCogVideoX"),
        "text_encoder": Part("transformers", "T5EncoderModel", "t5"),
    }
    schedule = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "rescale_betas_zero_snr",
        "snr_shift_scale",
    )
    given_channels = Key("latent_channels", 16)
    taken_width = Key("text_embed_dim", 4096)
    conditions = ("ofs_embed_dim", "use_learned_positional_embeddings")
    frame_rate = 8.0
    prefix = "CogVideoX"
    relatives: Mapping[str, str] = {
        "CogVideoXImageToVideoPipeline": "starts from an image",
        "CogVideoXFunControlPipeline": "is steered by a video",
    }
    same_weights = ("CogVideoXVideoToVideoPipeline",)
    makers_names = ("transformer.layers.0.attention.", "first_stage_model.")
    converter = "convert_cogvideox_to_diffusers.py"

    def check_training(self, checkpoint: Checkpoint) -> None:
        """Raises ModelError unless the checkpoint's scheduler says how a CogVideoX was trained."""
        folder = checkpoint.folder
        config = read_json(folder / "scheduler" / "scheduler_config.json")
        name, prediction = config.get("_class_name"), config.get("prediction_type", "epsilon")
        if name not in _SCHEDULERS or prediction not in _PREDICTIONS:
            raise ModelError(
                f"{folder}/scheduler is {name} with prediction_type {prediction!r}; CogVideoX checkpoints are trained"
                f" with {' or '.join(_SCHEDULERS)} and {' or '.join(_PREDICTIONS)}. Put the scheduler_config.json back"
                " that the checkpoint came with."
            )
        steps = config.get("num_train_timesteps", TRAIN_TIMESTEPS)
        if steps != TRAIN_TIMESTEPS:
            raise ModelError(
                f"{folder}/scheduler counts {steps} timesteps of training; only {TRAIN_TIMESTEPS} are supported, which"
                " is what every CogVideoX has."
            )

    def denoiser(self, checkpoint: Checkpoint, module: Any) -> CogVideoXDenoiser:
        """See `Family`."""
        return CogVideoXDenoiser(module, load_scheduler(checkpoint, _SCHEDULERS[0]))

    def model(self, checkpoint: Checkpoint, module: Any, encoders: Mapping[str, Any]) -> CogVideoXModel:
        """See `Family`."""
        scheduler = load_scheduler(checkpoint, _SCHEDULERS[0])
        # The pipeline without its denoiser: its own tokenizing and padding are used as they are.
        return CogVideoXModel(self.pipeline_class()(**encoders, scheduler=scheduler, transformer=None), module)

    def trained_size(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The size that the denoiser was trained for, as far as the configurations say it."""
        transformer, vae = (read_json(checkpoint.folder / part / "config.json") for part in ("transformer", "vae"))
        blocks = vae.get("block_out_channels")
        scale = 2 ** (len(blocks) - 1) if isinstance(blocks, list) else None
        sides = (transformer.get("sample_height"), transformer.get("sample_width"))
        height, width = (side * scale if type(side) is int and scale else side for side in sides)
        return {"frames": transformer.get("sample_frames"), "height": height, "width": width}

    def call_arguments(self, pipeline: CogVideoXPipeline, frames: int) -> dict[str, Any]:
        """See `Family`."""
        return {"num_frames": frames, "max_sequence_length": int(pipeline.transformer.config.max_text_seq_length)}

    def timesteps(self, checkpoint: Checkpoint) -> TimestepDraw:
        """Each whole timestep alike."""
        return {"flow_weighting_scheme": "uniform", "whole": True}


class CogVideoXDenoiser:
    """What a CogVideoX does with latents and prompt embeddings, wherever they come from; see `VideoDenoiser`."""

    train_timesteps = TRAIN_TIMESTEPS
    modulation_tables: tuple[str, ...] = ()  # linear layers do all its modulation

    def __init__(self, denoiser: CogVideoXTransformer3DModel, scheduler: CogVideoXDDIMScheduler) -> None:
        self.denoiser = denoiser
        self._scheduler = scheduler

    def add_noise(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """See the protocol."""
        return self._scheduler.add_noise(latent, noise, self._steps(timestep, latent))

    def target(self, latent: torch.Tensor, noise: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """See the protocol: the velocity, or the noise itself where the checkpoint was trained to predict that."""
        if self._scheduler.config.prediction_type == "epsilon":
            return noise.expand_as(latent)
        return self._scheduler.get_velocity(latent, noise, self._steps(timestep, latent))

    def predict(self, noisy: torch.Tensor, timestep: float | torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """See the protocol."""
        frames, height, width = noisy.shape[2:]
        output: torch.Tensor = self.denoiser(
            noisy.to(self.denoiser.dtype).transpose(1, 2),  # CogVideoX has frames before channels
            prompt.expand(noisy.shape[0], -1, -1),
            self._steps(timestep, noisy),
            image_rotary_emb=rotary_embedding(self.denoiser.config, frames, height, width, noisy.device),
            return_dict=False,
        )[0]
        return output.transpose(1, 2)

    def _steps(self, timestep: float | torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """`timestep` for every sample: one of the whole numbers 0 to 999 that CogVideoX is trained at."""
        import torch

        if isinstance(timestep, torch.Tensor):
            return timestep.to(latent.device).round().clamp(max=self.train_timesteps - 1).long()
        step = min(round(timestep), self.train_timesteps - 1)
        return torch.full((latent.shape[0],), step, device=latent.device)


class CogVideoXModel(CogVideoXDenoiser):
    """A CogVideoX checkpoint; see `VideoDiffusionModel`."""

    def __init__(self, pipeline: CogVideoXPipeline, denoiser: CogVideoXTransformer3DModel) -> None:
        super().__init__(denoiser, pipeline.scheduler)
        self._pipeline = pipeline
        self._vae: AutoencoderKLCogVideoX = pipeline.vae
        self.temporal_compression = int(self._vae.config.temporal_compression_ratio)
        self._device = self._vae.device

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """See the protocol."""
        config = self.denoiser.config
        space, time = self._pipeline.vae_scale_factor_spatial, self.temporal_compression
        step, together = space * config.patch_size, config.patch_size_t or 1
        # The first latent frame stands for one video frame; 1.5 takes latent frames in twos.
        every, first = time * together, time * (together - 1) + 1
        nearest = first + max(0, round((frames - first) / every)) * every
        fit = [max(step, round(length / step) * step) for length in (height, width)]
        limit = ""
        if config.patch_size_t is not None:  # 1.5 cuts its positions out of the grid of the largest size
            largest = [side * space // step * step for side in (config.sample_height, config.sample_width)]
            fit = [min(lengths) for lengths in zip(fit, largest, strict=True)]
            limit = f" up to {largest[1]}x{largest[0]}"
        if (frames, height, width) != (nearest, *fit):
            raise ModelError(
                f"this checkpoint cannot take {frames} frames of {width}x{height}: frames must be a multiple of"
                f" {every} plus {first}, height and width of {step}{limit}. The nearest is {nearest} frames of"
                f" {fit[1]}x{fit[0]}."
            )
        return self._vae.config.latent_channels, (frames - 1) // time + 1, height // space, width // space

    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """See the protocol; the pipeline divides by the scaling factor before it decodes.

        `invert_scale_latents` of the autoencoder's configuration is about the image of image-to-video alone.
        """
        import torch

        video = frames.to(self._device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        with torch.no_grad():
            return self._vae.encode(video).latent_dist.mode() * self._vae.config.scaling_factor

    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """See the protocol."""
        import torch

        with torch.no_grad():
            embedding, _ = self._pipeline.encode_prompt(
                prompt,
                do_classifier_free_guidance=False,
                device=self._device,
                max_sequence_length=self.denoiser.config.max_text_seq_length,
            )
        return embedding.to(self.denoiser.dtype)


def rotary_embedding(
    config: Any, frames: int, height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Cosines and sines of the positions of a latent, as CogVideoXPipeline prepares them; None where 2b needs none.

    `config` is the transformer's; `frames`, `height` and `width` are those of the latent.
    """
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    if not config.use_rotary_positional_embeddings:
        return None
    grid = (height // config.patch_size, width // config.patch_size)
    trained = (config.sample_height // config.patch_size, config.sample_width // config.patch_size)
    if config.patch_size_t is None:
        crop = get_resize_crop_region_for_grid(grid, trained[1], trained[0])
        return get_3d_rotary_pos_embed(config.attention_head_dim, crop, grid, frames, device=device)
    return get_3d_rotary_pos_embed(
        config.attention_head_dim,
        None,
        grid,
        frames // config.patch_size_t,
        grid_type="slice",
        max_size=trained,
        device=device,
    )
