"""A CogVideoX denoiser for the demo's latents and prompts: what a figure taken on the demo's Wan is held against.

Trained here on the demo's clips, as CogVideoX is: v-prediction at timesteps drawn evenly, on 5b's noise schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from rich.progress import Progress
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.report import report
from motiontrace.attribution.families import find_checkpoint, load_model
from motiontrace.attribution.families.cogvideox import CogVideoXDenoiser, rotary_embedding
from motiontrace.commands.demo import CHECKPOINT
from motiontrace.demo.corpus import write_corpus
from motiontrace.demo.training.run import FRAMES, SIDE, read_corpus
from motiontrace.demo.training.schedule import warmup_cosine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motiontrace.attribution.families import VideoDiffusionModel

    Predictor = Callable[[torch.Tensor, float, torch.Tensor], torch.Tensor]

FOLDER = Path(__file__).parents[1] / ".bench" / "cogvideox"
TIMESTEP = 751  # the recipe's
EVENLY = range(24, 1000, 50)


@dataclass(frozen=True)
class Training:
    """How the denoiser is trained; 7 minutes on one thread."""

    steps: int = 1700
    batch: int = 8
    learning_rate: float = 1.2e-3
    warmup: int = 100
    ema: float = 0.995
    caption_dropout: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Split:
    """A split of the corpus as the denoiser sees it."""

    latents: torch.Tensor
    """[clips, C, f, h, w]."""
    prompts: torch.Tensor
    """[clips, L, D]."""


class DemoCogVideoX(CogVideoXDenoiser):
    """The demo's autoencoder and text encoder with a CogVideoX denoiser; see the protocol."""

    def __init__(self, encoders: VideoDiffusionModel, denoiser: CogVideoXTransformer3DModel) -> None:
        super().__init__(denoiser, noise_schedule())
        self._encoders = encoders
        self.temporal_compression = encoders.temporal_compression

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """See the protocol."""
        return self._encoders.latent_shape(frames, height, width)

    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """See the protocol."""
        return self._encoders.encode_video(frames)

    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """See the protocol."""
        return self._encoders.encode_prompt(prompt).to(self.denoiser.dtype)


def trained_cogvideox(folder: Path, *, dtype: str = "float32", device: str = "cpu") -> DemoCogVideoX:
    """The trained model: read from `folder`, or trained there first."""
    saved = folder / "transformer"
    if not (saved / "diffusion_pytorch_model.safetensors").is_file():
        encoders = load_encoders()
        write_corpus(folder / "corpus")
        train = encode_split(folder / "corpus" / "train", encoders, mirrored=True)
        heldout = encode_split(folder / "corpus" / "heldout", encoders)
        _train(encoders, train, heldout, Training()).save_pretrained(saved)
    denoiser = CogVideoXTransformer3DModel.from_pretrained(
        saved, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    )
    return DemoCogVideoX(load_encoders(dtype, device), denoiser.to(device).eval().requires_grad_(False))


def load_encoders(dtype: str = "float32", device: str = "cpu") -> VideoDiffusionModel:
    """The demo's checkpoint."""
    return load_model(find_checkpoint(str(CHECKPOINT)), timesteps=[TIMESTEP], dtype=dtype, device=device)


def noise_schedule() -> CogVideoXDDIMScheduler:
    """As CogVideoX-5b's scheduler_config.json has it."""
    return CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0)


def build_denoiser(encoders: VideoDiffusionModel) -> CogVideoXTransformer3DModel:
    """Five layers of six heads of 32 on 2 x 2 patches with rotary positions, as 5b's: 3.1 million parameters."""
    channels, frames, height, width = encoders.latent_shape(FRAMES, SIDE, SIDE)
    length, text_width = encoders.encode_prompt("").shape[1:]
    model = CogVideoXTransformer3DModel(
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=channels,
        out_channels=channels,
        time_embed_dim=64,
        text_embed_dim=text_width,
        num_layers=5,
        sample_width=width,
        sample_height=height,
        sample_frames=frames,
        temporal_compression_ratio=1,
        max_text_seq_length=length,
        use_rotary_positional_embeddings=True,
    )
    # Layers that begin as the identity learn faster.
    for layer in (
        *(norm.linear for block in model.transformer_blocks for norm in (block.norm1, block.norm2)),
        model.proj_out,
    ):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def encode_split(folder: Path, encoders: VideoDiffusionModel, *, mirrored: bool = False) -> Split:
    """A rendered split; `mirrored` adds every clip's mirror image, for no caption tells left from right."""
    clips, captions = read_corpus(folder)
    sides = (clips, clips.flip(3)) if mirrored else (clips,)
    latents = torch.cat([encoders.encode_video(part) for side in sides for part in side.split(16)])
    return Split(latents, _encode_prompts(encoders, captions).repeat(len(sides), 1, 1))


def _encode_prompts(encoders: VideoDiffusionModel, captions: Sequence[str]) -> torch.Tensor:
    return torch.cat([encoders.encode_prompt(caption) for caption in captions])


def _train(
    encoders: VideoDiffusionModel, train: Split, heldout: Split, settings: Training
) -> CogVideoXTransformer3DModel:
    """Trains from scratch; says the loss on held-out clips before and after."""
    torch.manual_seed(settings.seed)
    denoiser, scheduler = build_denoiser(encoders).train(), noise_schedule()
    averaged = AveragedModel(denoiser, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
    frames, height, width = train.latents.shape[2:]
    rotary = rotary_embedding(denoiser.config, frames, height, width, train.latents.device)
    empty = encoders.encode_prompt("")
    optimizer = torch.optim.AdamW(
        denoiser.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    with Progress() as progress:
        before = heldout_loss(DemoCogVideoX(encoders, denoiser).predict, scheduler, heldout)
        progress.console.print(f"loss on held-out clips before training: {before:.4f}")
        task = progress.add_task("training a CogVideoX denoiser", total=settings.steps)
        for step in range(settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * warmup_cosine(step, settings.steps, settings.warmup)
            chosen = torch.randint(len(train.latents), (settings.batch,))
            dropped = torch.rand(settings.batch, 1, 1) < settings.caption_dropout
            prompts = torch.where(dropped, empty, train.prompts[chosen])
            timesteps = torch.randint(scheduler.config.num_train_timesteps, (settings.batch,))
            clean = train.latents[chosen]
            noise = torch.randn_like(clean)
            noisy = scheduler.add_noise(clean, noise, timesteps).transpose(1, 2)
            with torch.autocast("cpu", torch.bfloat16):  # nearly twice as fast on current server cores
                predicted = denoiser(noisy, prompts, timesteps, image_rotary_emb=rotary, return_dict=False)[0]
            loss = F.mse_loss(predicted.float().transpose(1, 2), scheduler.get_velocity(clean, noise, timesteps))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(denoiser)
            progress.advance(task)
        trained: CogVideoXTransformer3DModel = averaged.module.eval()
        after = heldout_loss(DemoCogVideoX(encoders, trained).predict, scheduler, heldout)
        progress.console.print(f"loss on held-out clips after training: {after:.4f}")
    return trained


@torch.no_grad()
def heldout_loss(
    predict: Predictor, scheduler: CogVideoXDDIMScheduler, split: Split, timesteps: Sequence[int] = EVENLY
) -> float:
    """Mean squared error of the predicted velocity over every clip of the split at each of `timesteps`."""
    generator, losses = torch.Generator().manual_seed(0), []
    for timestep in timesteps:
        noise = torch.randn(split.latents.shape, generator=generator)
        steps = torch.full((len(noise),), timestep)
        predicted = predict(scheduler.add_noise(split.latents, noise, steps), timestep, split.prompts)
        losses.append(F.mse_loss(predicted, scheduler.get_velocity(split.latents, noise, steps)))
    return float(torch.stack(losses).mean())


def linear_predictor(train: Split, scheduler: CogVideoXDDIMScheduler) -> Predictor:
    """The best that can be said of each number of the velocity from that number of the noisy latent alone.

    E[v | z] for independent Gaussians with the mean m and variance s^2 that each number has over the training clips.
    """
    variance, mean = torch.var_mean(train.latents, 0)

    def predict(noisy: torch.Tensor, timestep: float, prompt: torch.Tensor) -> torch.Tensor:
        a = scheduler.alphas_cumprod[int(timestep)].float()
        gain = (a * (1 - a)).sqrt() * (1 - variance) / (a * variance + 1 - a)
        return gain * (noisy - a.sqrt() * mean) - (1 - a).sqrt() * mean

    return predict


def main() -> None:
    """Trains the denoiser unless that was done, and holds it against predictors that know no motion."""
    torch.set_num_threads(1)
    model = trained_cogvideox(FOLDER)
    encoders = load_encoders()
    train, heldout = (encode_split(FOLDER / "corpus" / split, encoders) for split in ("train", "heldout"))
    scheduler = noise_schedule()
    predictors: dict[str, Predictor] = {
        "zero": lambda noisy, timestep, prompt: torch.zeros_like(noisy),
        "number by number, linear": linear_predictor(train, scheduler),
        "CogVideoX": model.predict,
        "CogVideoX, another clip's caption": lambda noisy, timestep, prompt: model.predict(
            noisy, timestep, prompt.roll(1, 0)
        ),
    }
    rows = [
        {
            "predictor": name,
            "all timesteps": heldout_loss(predict, scheduler, heldout),
            f"timestep {TIMESTEP}": heldout_loss(predict, scheduler, heldout, [TIMESTEP]),
        }
        for name, predict in predictors.items()
    ]
    report("cogvideox", f"Loss of the velocity on {len(heldout.latents)} held-out clips", rows)


if __name__ == "__main__":
    main()
