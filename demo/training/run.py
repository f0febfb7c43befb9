"""From a rendered corpus to a checkpoint folder that diffusers loads."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline

from motiontrace.attribution.families.quiet import silence_libraries
from motiontrace.attribution.video import read_video
from motiontrace.demo.training.autoencoder import fit_autoencoder, raw_latents
from motiontrace.demo.training.denoiser import SHIFT, DenoiserTraining, PromptedDenoiser, train_denoiser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import T5Tokenizer

FRAMES, SIDE = 13, 32
# Four timesteps, half of the default recipe's: the demo takes half of the time (docs/results/evaluation.md has both).
RECOMMENDED = {"height": SIDE, "width": SIDE, "frames": FRAMES, "timesteps": [400, 650, 800, 925]}


def read_corpus(folder: Path) -> tuple[torch.Tensor, list[str]]:
    """Frames uint8 [clips, FRAMES, SIDE, SIDE, 3] and captions of a rendered split."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    frames = [read_video(folder / row["file_name"], frames=FRAMES, height=SIDE, width=SIDE).frames for row in rows]
    return torch.from_numpy(np.stack(frames)), [row["caption"] for row in rows]


def save_checkpoint(folder: Path, vae: AutoencoderKLWan, tokenizer: T5Tokenizer, model: PromptedDenoiser) -> None:
    """Writes the ordinary diffusers layout in half precision, with the sizes it was trained for beside it."""
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT)
    # Copies: training goes on in single precision after an intermediate save.
    text_encoder, half_vae, transformer = (
        deepcopy(part).half() for part in (model.text_encoder, vae, model.transformer)
    )
    silence_libraries()
    WanPipeline(tokenizer, text_encoder, half_vae, scheduler, transformer).save_pretrained(folder)
    (folder / "motiontrace.json").write_text(json.dumps(RECOMMENDED) + "\n", encoding="utf-8")


def train(
    corpus: Path, folder: Path, say: Callable[[str], None], denoiser: DenoiserTraining = DenoiserTraining()
) -> None:
    """Fits the autoencoder, trains text encoder and denoiser on `corpus`, and writes the checkpoint to `folder`."""
    say("reading the clips")
    clips, captions = read_corpus(corpus)
    vae = fit_autoencoder(clips)
    mean, std = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    # Mirrored clips double the corpus; no caption tells left from right.
    latents = torch.cat([(raw_latents(vae, part) - mean) / std for part in (clips, clips.flip(3))])
    say("training the denoiser and its text encoder")
    train_denoiser(
        latents, captions * 2, denoiser, say, lambda tokenizer, model: save_checkpoint(folder, vae, tokenizer, model)
    )
