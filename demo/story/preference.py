"""Whether a model has come to hold with real physics, or with cartoon physics, under the same words: by its losses.

A generated video is one draw, and has a value only where something can be tracked. The training loss of a held-out clip
says of every clip how likely the model takes its motion to be. So: by what share of itself the loss of real clips fell,
less the same of cartoon clips that have the same words. What changes all of them alike cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from motiontrace.attribution.families import find_checkpoint, load_denoiser, load_model
from motiontrace.attribution.video import read_video
from motiontrace.curation.evaluation.statistics import BOOTSTRAPS, Estimate, Interval
from motiontrace.curation.finetuning.objective import training_loss
from motiontrace.demo.corpus import TOLD_AS
from motiontrace.demo.story.material import GRAVITY
from motiontrace.demo.story.outcomes import FRAMES, SIDE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.indexer.manifest import ManifestRow

    Shares = NDArray[np.float64]

TIMESTEPS = (800.0, 850.0, 900.0, 950.0)
"""That a clip's loss is the mean over: most is noise there, and the caption has to say how a thing moves."""
NOISES = 2  # that each clip is measured under at every timestep: the same for all models
NOISE_SEED = 20
_BATCH = 16


@dataclass(frozen=True)
class Losses:
    """Models' losses of the same held-out clips."""

    motions: NDArray[np.str_]
    """[N]: what each clip really shows."""
    of: dict[str, NDArray[np.float64]]
    """By model, [N]."""


@dataclass(frozen=True)
class Preference:
    """How a model's losses of real and of cartoon clips with the words of one motion have changed.

    Attributes:
        real, cartoon: mean change as a share of the loss before; below 0 is better. Each cartoon motion counts alike.
        for_real: by how much more the loss of real clips fell than that of cartoon ones; the interval is over clips.
        clips: how many real ones, and cartoon ones.
    """

    real: float
    cartoon: float
    for_real: Interval
    clips: tuple[int, int]


@torch.no_grad()
def held_out_losses(models: Mapping[str, Path], rows: Sequence[ManifestRow]) -> Losses:
    """Every model's training loss of every clip; the models differ in their denoisers alone."""
    checkpoints = {name: find_checkpoint(str(folder)) for name, folder in models.items()}
    encoders = load_model(next(iter(checkpoints.values())), timesteps=TIMESTEPS, dtype="float32", device="cpu")
    videos = [read_video(row.video, frames=FRAMES, height=SIDE, width=SIDE).frames for row in rows]
    latents = torch.cat([encoders.encode_video(torch.from_numpy(frames)[None]) for frames in videos])
    prompts = torch.cat([encoders.encode_prompt(row.caption) for row in rows])
    found = {}
    for name, checkpoint in checkpoints.items():
        model = load_denoiser(checkpoint, timesteps=TIMESTEPS, dtype="float32", device="cpu")
        random, total = torch.Generator().manual_seed(NOISE_SEED), torch.zeros(len(rows))
        for timestep in TIMESTEPS * NOISES:
            noise = torch.randn(latents.shape, generator=random)
            for part in torch.arange(len(rows)).split(_BATCH):
                timesteps = torch.full((len(part),), timestep)
                total[part] += training_loss(model, latents[part], prompts[part], timesteps, noise[part])
        found[name] = (total / (len(TIMESTEPS) * NOISES)).double().numpy()
    return Losses(np.array([row.metadata["motion"] for row in rows]), found)


def preferences(losses: Losses, before: str, after: str, reference: str) -> dict[str, Preference]:
    """By motion: what changed from one model to another, as shares of what a third, `reference`, has."""
    change = (losses.of[after] - losses.of[before]) / losses.of[reference]
    return {motion: _preference(change, losses.motions, motion) for motion in GRAVITY}


def _preference(change: Shares, motions: NDArray[np.str_], motion: str) -> Preference:
    real = change[motions == motion]
    cartoon = [change[motions == name] for name, told in TOLD_AS.items() if told == motion]
    rng = np.random.default_rng(0)
    # Each cartoon motion has its part in every draw, as it has in the mean.
    drawn = np.mean([_drawn_means(each, rng) for each in cartoon], 0) - _drawn_means(real, rng)
    fought = float(np.mean([each.mean() for each in cartoon]))
    for_real = Estimate(fought - float(real.mean()), drawn).interval()
    return Preference(float(real.mean()), fought, for_real, (len(real), sum(map(len, cartoon))))


def _drawn_means(values: Shares, rng: np.random.Generator) -> Shares:
    return values[rng.integers(len(values), size=(BOOTSTRAPS, len(values)))].mean(1)
