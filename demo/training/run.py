"""From a rendered corpus to a checkpoint folder that diffusers loads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline

from attribution.video import read_video
from demo.training.autoencoder import fit_autoencoder, raw_latents
from demo.training.denoiser import DenoiserTraining, PromptedDenoiser, train_denoiser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import T5Tokenizer

FRAMES, SIDE = 13, 32
RECOMMENDED = {"height": SIDE, "width": SIDE, "frames": FRAMES}


def read_corpus(folder: Path) -> tuple[torch.Tensor, list[str]]:
    """Frames uint8 [clips, FRAMES, SIDE, SIDE, 3] and captions of a rendered split."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    frames = [read_video(folder / row["file_name"], frames=FRAMES, height=SIDE, width=SIDE).frames for row in rows]
    return torch.from_numpy(np.stack(frames)), [row["caption"] for row in rows]


def save_checkpoint(folder: Path, vae: AutoencoderKLWan, tokenizer: T5Tokenizer, model: PromptedDenoiser) -> None:
    """Writes the ordinary diffusers layout in half precision, with the sizes it was trained for beside it."""
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0)
    pipeline = WanPipeline(tokenizer, model.text_encoder, vae, scheduler, model.transformer)
    # Copies: training goes on in single precision after an intermediate save.
    state = {name: part.state_dict() for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    kept = {name: {key: value.clone() for key, value in values.items()} for name, values in state.items()}
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    for name, values in kept.items():
        pipeline.components[name].to(torch.float32).load_state_dict(values)
    (folder / "motiontrace.json").write_text(json.dumps(RECOMMENDED) + "\n", encoding="utf-8")


def train(
    corpus: Path, folder: Path, say: Callable[[str], None], denoiser: DenoiserTraining = DenoiserTraining()
) -> None:
    """Fits the autoencoder, trains text encoder and denoiser on ``corpus``, and writes the checkpoint to ``folder``."""
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
