"""Whether a model has come to hold with real physics, or with cartoon physics, under the same words: by its losses.

A generated video is one draw, and has a value only where something can be tracked. The loss of a held-out clip says of
every clip how likely the model takes its motion to be. So: by what share of itself the motion loss of real clips fell,
less the same of cartoon clips that have the same words. What changes all of them alike cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attribution.engine import plan_recipe
from attribution.families import find_checkpoint, load_denoiser, load_model
from attribution.presets import PRESETS
from curation.evaluation.clips import prepare_clips
from curation.evaluation.settings import TrainingSettings
from curation.evaluation.training import Experiment
from curation.finetuning.objective import checkpoint_timesteps
from demo.corpus import TOLD_AS
from demo.story.material import GRAVITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from indexer.manifest import ManifestRow

    Shares = NDArray[np.float64]

TIMESTEPS = (850.0, 900.0, 950.0, 980.0) * 2
"""That a clip's loss is the mean over, each under a noise of its own: where the picture is still nearly all noise, and
the caption has to say how a thing moves."""
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Losses:
    """Models' motion losses of the same held-out clips."""

    motions: NDArray[np.str_]
    """[N]: what each clip really shows."""
    of: dict[str, NDArray[np.float64]]
    """By model, [N]."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval over clips."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Preference:
    """How a model's losses of real and of cartoon clips with the words of one motion have changed.

    Attributes:
        real, cartoon: mean change as a share of the loss before; below 0 is better.
        for_real: by how much more the loss of real clips fell than that of cartoon ones.
        clips: how many real ones, and cartoon ones.
    """

    real: float
    cartoon: float
    for_real: Estimate
    clips: tuple[int, int]


def motion_losses(models: Mapping[str, Path], rows: Sequence[ManifestRow]) -> Losses:
    """Every model's motion loss of every clip that moves; the models differ in their denoisers alone."""
    checkpoint = find_checkpoint(str(next(iter(models.values()))))
    recipe = plan_recipe(checkpoint, PRESETS["paper"])
    encoders = load_model(checkpoint, timesteps=recipe.timesteps, dtype="float32", device="cpu")
    clips = prepare_clips(rows, encoders, recipe)
    settings = TrainingSettings(loss_timesteps=TIMESTEPS)
    found = {}
    for name, folder in models.items():
        made = find_checkpoint(str(folder))
        denoiser = load_denoiser(made, timesteps=TIMESTEPS, dtype="float32", device="cpu")
        model = Experiment(denoiser, clips, clips, settings, checkpoint_timesteps(made))
        model.reset()
        found[name] = model.held_out_losses()
    return Losses(np.array(clips.values("motion")), found)


def preferences(losses: Losses, before: str, after: str, reference: str) -> dict[str, Preference]:
    """By motion: what changed from one model to another, as shares of what a third, ``reference``, has."""
    change = (losses.of[after] - losses.of[before]) / losses.of[reference]
    return {motion: _preference(change, losses.motions, motion) for motion in GRAVITY}


def _preference(change: Shares, motions: NDArray[np.str_], motion: str) -> Preference:
    real = change[motions == motion]
    cartoon = change[np.isin(motions, [name for name, told in TOLD_AS.items() if told == motion])]
    rng = np.random.default_rng(0)
    drawn = _drawn_means(cartoon, rng) - _drawn_means(real, rng)
    low, high = np.percentile(drawn, [2.5, 97.5])
    estimate = Estimate(float(cartoon.mean() - real.mean()), float(low), float(high))
    return Preference(float(real.mean()), float(cartoon.mean()), estimate, (len(real), len(cartoon)))


def _drawn_means(values: Shares, rng: np.random.Generator) -> Shares:
    return values[rng.integers(len(values), size=(BOOTSTRAPS, len(values)))].mean(1)
