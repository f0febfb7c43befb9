"""What fine-tuning minimises: the model's own training loss, at timesteps drawn as its makers draw them.

Flow matching: t = 1000 s, s logit-normal as in Stable Diffusion 3 (arXiv:2403.03206, section 3.1) and shifted to
more noise by the checkpoint's scheduler, s' = shift s / (1 + (shift - 1) s). Schedules of variances: each
whole timestep alike, and the velocity's squared error, which is the clean latent's weighed by 1 / (1 - alpha).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from motiontrace.attribution.errors import ModelError
from motiontrace.curation.finetuning.settings import TimestepSettings

if TYPE_CHECKING:
    from motiontrace.attribution.families import Checkpoint
    from motiontrace.attribution.families.base import VideoDenoiser


def checkpoint_timesteps(checkpoint: Checkpoint) -> TimestepSettings:
    """How a checkpoint's family draws its timesteps, by the checkpoint's scheduler.

    Raises ModelError where the scheduler's configuration cannot be read.
    """
    file = checkpoint.folder / "scheduler" / "scheduler_config.json"
    try:
        return TimestepSettings(**checkpoint.kind.timesteps(checkpoint))
    except ValueError as error:
        raise ModelError(f"{file} does not say how noise levels are shifted: {error}") from error


def sample_timesteps(
    count: int, generator: torch.Generator, settings: TimestepSettings, train_timesteps: int
) -> torch.Tensor:
    """Draws `count` timesteps: float32 [count] from 0 to `train_timesteps`, on the generator's device."""
    least, most = (_quantile(share, settings) for share in (settings.lowest, settings.highest))
    draw = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
    draw = least + (most - least) * draw
    if settings.flow_weighting_scheme == "logit_normal":
        draw = torch.sigmoid(settings.flow_logit_mean + settings.flow_logit_std * torch.special.ndtri(draw))
    shift = settings.flow_shift
    timesteps = train_timesteps * (shift * draw / (1 + (shift - 1) * draw))
    if settings.whole:
        timesteps = timesteps.floor().clamp(max=train_timesteps - 1)
    return timesteps.float()


def _quantile(share: float, settings: TimestepSettings) -> torch.Tensor:
    """The chance of a noise level below `share`; float64 [] from 0 to 1."""
    level = torch.tensor(share, dtype=torch.float64)
    level = level / (settings.flow_shift - (settings.flow_shift - 1) * level)
    if settings.flow_weighting_scheme == "uniform":
        return level
    return torch.special.ndtr((torch.logit(level) - settings.flow_logit_mean) / settings.flow_logit_std)


def training_loss(
    model: VideoDenoiser, latent: torch.Tensor, prompt: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """The model's training loss of each sample, the mean over channels and positions: float32 [B], differentiable.

    `latent` and `noise` [B, C, f, h, w], `prompt` [B, L, D], `timesteps` float32 [B].
    """
    prediction = model.predict(model.add_noise(latent, noise, timesteps), timesteps, prompt)
    target = model.target(latent, noise, timesteps)
    return (prediction.float() - target.float()).square().mean((1, 2, 3, 4))
