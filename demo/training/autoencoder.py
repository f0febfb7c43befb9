"""A small ``AutoencoderKLWan``: 2 x 4 x 4 compression into 16 channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan

from demo.training.schedule import report_every, warmup_cosine

if TYPE_CHECKING:
    from collections.abc import Callable

CHANNELS = 16


@dataclass(frozen=True)
class Phase:
    """A stretch of training on crops of ``frames`` frames; ``learning_rate`` is its peak."""

    steps: int
    batch: int
    frames: int
    learning_rate: float


@dataclass(frozen=True)
class AutoencoderTraining:
    """How the autoencoder is trained; about fifteen minutes on one core.

    Short crops first, for speed. Then whole clips: the convolutions carry state from chunk to chunk, and what they
    have only seen in two chunks drifts in the fifth.
    """

    phases: tuple[Phase, ...] = (Phase(4000, 4, 5, 2e-3), Phase(1000, 2, 17, 1e-3))
    kl_weight: float = 1e-7
    seed: int = 0


def build_autoencoder(mean: list[float] | None = None, std: list[float] | None = None) -> AutoencoderKLWan:
    """The untrained autoencoder; ``mean`` and ``std`` of each latent channel once they are known."""
    return AutoencoderKLWan(
        base_dim=24, decoder_base_dim=24, z_dim=CHANNELS, dim_mult=[2, 2], num_res_blocks=1,
        temperal_downsample=[True], is_residual=True, patch_size=2, in_channels=12, out_channels=12,
        scale_factor_temporal=2, scale_factor_spatial=4,
        latents_mean=mean or [0.0] * CHANNELS, latents_std=std or [1.0] * CHANNELS,
    )  # fmt: skip


def to_model_range(frames: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, frames, height, width, 3] -> float32 [batch, 3, frames, height, width] in [-1, 1]."""
    return frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def train_autoencoder(
    clips: torch.Tensor, settings: AutoencoderTraining, say: Callable[[str], None]
) -> AutoencoderKLWan:
    """Trains on uint8 [clips, frames, height, width, 3] and returns the model with its latent statistics set."""
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    model = build_autoencoder()
    for phase in settings.phases:
        say(f"crops of {phase.frames} frames")
        _train_phase(model, clips, phase, settings.kl_weight, generator, say)
    latents = raw_latents(model, clips)
    mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    trained = build_autoencoder(mean.tolist(), std.tolist())
    trained.load_state_dict(model.state_dict())
    return trained.eval()


def _train_phase(model: AutoencoderKLWan, clips: torch.Tensor, phase: Phase, kl_weight: float,
                 generator: torch.Generator, say: Callable[[str], None]) -> None:  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.learning_rate, weight_decay=1e-4)
    report = report_every(100, phase.steps, say)
    for step in range(phase.steps):
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * warmup_cosine(step, phase.steps, 50)
        chosen = torch.randint(len(clips), (phase.batch,), generator=generator)
        start = int(torch.randint(clips.shape[1] - phase.frames + 1, (1,), generator=generator))
        video = to_model_range(clips[chosen, start : start + phase.frames])
        if torch.rand((), generator=generator) < 0.5:
            video = video.flip(-1)
        posterior = model.encode(video).latent_dist
        decoded = model.decode(posterior.sample(generator)).sample
        loss = F.l1_loss(decoded, video) + F.mse_loss(decoded, video) + kl_weight * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step, loss.item())


@torch.no_grad()
def raw_latents(model: AutoencoderKLWan, clips: torch.Tensor, batch: int = 16) -> torch.Tensor:
    """The posteriors' modes, not yet normalised: float32 [clips, channels, frames, height, width]."""
    parts = [model.encode(to_model_range(part)).latent_dist.mode() for part in clips.split(batch)]
    return torch.cat(parts)
