"""The settings of a run, from those that the user gives and from the checkpoint's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import torch

from motiontrace.attribution.families.base import TRAIN_TIMESTEPS
from motiontrace.curation.finetuning.clips import plan_clips
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.objective import checkpoint_timesteps
from motiontrace.curation.finetuning.settings import (
    ClipSettings,
    FinetuneSettings,
    LoraSettings,
    NoiseLevel,
    OptimizerSettings,
    TimestepSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from motiontrace.attribution.families import Checkpoint


def plan_settings(checkpoint: Checkpoint, given: Mapping[str, Any], device: str | None = None) -> FinetuneSettings:
    """Settings from those that somebody has `given` by name, whatever group they are in, and the checkpoint's own.

    The checkpoint gives the size of clips (`motiontrace.json`) and how timesteps are drawn (its scheduler);
    `device` is the one to train on, None a GPU where there is one: there mixed precision is bf16. Raises
    FinetuningError or pydantic's ValidationError, each naming the setting.
    """
    values = dict(given)
    if values.get("mixed_precision") is None:
        cuda = torch.cuda.is_available() if device is None else device.startswith("cuda")
        values["mixed_precision"] = "bf16" if cuda else "no"
    clips = plan_clips(checkpoint, _taken(values, ClipSettings.model_fields))
    timesteps = checkpoint_timesteps(checkpoint)
    drawn = _taken(values, TimestepSettings.model_fields)
    if drawn and timesteps.whole:
        raise FinetuningError(
            f"{', '.join(sorted(drawn))}: {checkpoint.location} is not trained by flow matching, and its timesteps are"
            " drawn all alike."
        )
    bounds = _bounds(checkpoint, values.get("noise_level"))
    timesteps = TimestepSettings(**timesteps.model_dump() | drawn | bounds)
    adapter = _taken(values, LoraSettings.model_fields)
    full = values.get("training_type", FinetuneSettings().training_type) == "full"
    if full and adapter:
        raise FinetuningError(f"{', '.join(sorted(adapter))}: only training_type lora has an adapter.")
    targets = {"target_modules": checkpoint.kind.lora_targets} if checkpoint.kind.lora_targets else {}
    return FinetuneSettings(
        clips=clips,
        timesteps=timesteps,
        lora=None if full else LoraSettings(**targets | adapter),
        optimizer=OptimizerSettings(**_taken(values, OptimizerSettings.model_fields)),
        **values,
    )


def served_timesteps(settings: FinetuneSettings) -> list[float]:
    """Timesteps of training that select one of a checkpoint's two transformers."""
    return [0.0 if settings.noise_level == "low" else float(TRAIN_TIMESTEPS)]


def _bounds(checkpoint: Checkpoint, level: Any) -> dict[str, float]:
    """The noise levels that the trained transformer serves.

    Raises FinetuningError where it is not given which of two is trained, or given and there is one.
    """
    boundary, levels = checkpoint.index.get("boundary_ratio"), get_args(NoiseLevel)
    if boundary is None:
        if level is not None:
            raise FinetuningError(f"noise_level: {checkpoint.location} has one transformer, for all levels of noise.")
        return {}
    if level not in levels:
        raise FinetuningError(
            f"{checkpoint.location} has two transformers, for timesteps from {TRAIN_TIMESTEPS * boundary:g} on"
            " (noise_level high) and for those below (low). One is trained at a time: give --noise-level"
            f" {' or '.join(levels)}."
        )
    return {"lowest": boundary} if level == "high" else {"highest": boundary}


def _taken(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values.pop(name) for name in names if name in values}
