"""Videos from a checkpoint's own pipeline, for queries and for looking at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from diffusers import WanPipeline
from diffusers.utils import logging

from demo import sheet
from demo.corpus import caption
from demo.looks import Look
from demo.motions import MOTIONS
from demo.render import FRAME_RATE, SIDE, write_mp4

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def load_pipeline(checkpoint: Path) -> WanPipeline:
    """diffusers' own pipeline in single precision, quiet."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it warns of rounding num_frames, see below
    pipeline = WanPipeline.from_pretrained(checkpoint, dtype=torch.float32, use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: WanPipeline, prompts: Sequence[str], *, seed: int, frames: int, side: int, steps: int = 25,
             guidance: float = 4.0) -> NDArray[np.uint8]:  # fmt: skip
    """One video a prompt: RGB uint8 [prompts, frames, side, side, 3]; the same seed gives the same videos."""
    # diffusers rounds num_frames to a multiple of the compression in time plus one; without compression, one up.
    asked = frames - 1 if pipeline.vae_scale_factor_temporal == 1 else frames
    videos = pipeline(
        list(prompts), negative_prompt=[""] * len(prompts), num_frames=asked, height=side, width=side,
        num_inference_steps=steps, guidance_scale=guidance, generator=torch.Generator().manual_seed(seed),
        max_sequence_length=pipeline.tokenizer.model_max_length, output_type="np",
    ).frames  # fmt: skip
    return np.round(np.clip(videos, 0, 1) * 255).astype(np.uint8)


def generate_sheet(checkpoint: Path, path: Path, *, seed: int) -> None:
    """Writes a contact sheet with one generated video for every motion, in looks drawn with ``seed``."""
    rng = np.random.default_rng(seed)
    prompts = [caption(motion, Look.draw(rng), rng) for motion in MOTIONS]
    recommended = _recommended(checkpoint)
    videos = generate(
        load_pipeline(checkpoint), prompts, seed=seed, frames=recommended["frames"], side=recommended["height"]
    )
    strips = [np.stack([_enlarged(frame, sheet.SIDE) for frame in video]) for video in videos]
    sheet.write_sheet(path, list(zip(prompts, strips, strict=True)))


def _recommended(checkpoint: Path) -> dict[str, int]:
    return json.loads((checkpoint / "motiontrace.json").read_text(encoding="utf-8"))


def _enlarged(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)


def generate_mp4(checkpoint: Path, prompt: str, path: Path, *, seed: int) -> None:
    """Generates one video of the size that the checkpoint recommends and writes it enlarged, to be looked at."""
    size = _recommended(checkpoint)
    video = generate(load_pipeline(checkpoint), [prompt], seed=seed, frames=size["frames"], side=size["height"])[0]
    large = np.stack([_enlarged(frame, SIDE) for frame in video])
    write_mp4(path, large, FRAME_RATE // 3)  # the model sees every third frame of the corpus
