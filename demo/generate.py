"""Videos from a checkpoint's own pipeline, for queries and for looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import WanPipeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def load_pipeline(checkpoint: Path) -> WanPipeline:
    """diffusers' own pipeline in single precision, quiet."""
    pipeline = WanPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: WanPipeline, prompts: Sequence[str], *, seed: int, frames: int, side: int, steps: int = 25,
             guidance: float = 4.0) -> NDArray[np.uint8]:  # fmt: skip
    """One video a prompt: RGB uint8 [prompts, frames, side, side, 3]; the same seed gives the same videos."""
    videos = pipeline(
        list(prompts), negative_prompt=[""] * len(prompts), num_frames=frames, height=side, width=side,
        num_inference_steps=steps, guidance_scale=guidance, generator=torch.Generator().manual_seed(seed),
        max_sequence_length=pipeline.tokenizer.model_max_length, output_type="np",
    ).frames  # fmt: skip
    return np.round(np.clip(videos, 0, 1) * 255).astype(np.uint8)
