"""Videos from the demo's checkpoint, for queries and for looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from motiontrace.attribution.families import find_checkpoint
from motiontrace.curation.generation import GenerationSettings, generate, load_pipeline
from motiontrace.demo import sheet
from motiontrace.demo.corpus import caption
from motiontrace.demo.looks import Look
from motiontrace.demo.motions import MOTIONS
from motiontrace.demo.render import FRAME_RATE, SIDE, write_mp4

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

STEPS, GUIDANCE = 25, 4.0  # of the sampler: enough for so small a model


def generate_sheet(checkpoint: Path, path: Path, *, seed: int) -> None:
    """Writes a contact sheet with one generated video for every motion, in looks drawn with `seed`."""
    rng = np.random.default_rng(seed)
    prompts = [caption(motion, Look.draw(rng), rng) for motion in MOTIONS]
    videos = _generate(checkpoint, prompts, range(seed, seed + len(prompts)))
    strips = [np.stack([_enlarged(frame, sheet.SIDE) for frame in video]) for video in videos]
    sheet.write_sheet(path, list(zip(prompts, strips, strict=True)))


def generate_mp4(checkpoint: Path, prompt: str, path: Path, *, seed: int) -> None:
    """Generates one video of the size that the checkpoint recommends and writes it enlarged, to be looked at."""
    large = np.stack([_enlarged(frame, SIDE) for frame in _generate(checkpoint, [prompt], [seed])[0]])
    write_mp4(path, large, FRAME_RATE // 3)  # the model sees every third frame of the corpus


def _generate(checkpoint: Path, prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
    settings = GenerationSettings.of(find_checkpoint(str(checkpoint)), steps=STEPS, guidance=GUIDANCE)
    # On the processor, so that everybody gets the same videos.
    pipeline = load_pipeline(str(checkpoint), device="cpu")
    return generate(pipeline, prompts, seeds, **settings.for_model())


def _enlarged(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
