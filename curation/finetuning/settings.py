"""All that a fine-tuning run follows from, as one value; names and defaults are those of the common trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field

from motiontrace.curation.finetuning.adapter import LoraSettings
from motiontrace.curation.finetuning.clips import ClipSettings, plan_clips
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.objective import TimestepSettings, checkpoint_timesteps
from motiontrace.curation.finetuning.optimizer import OptimizerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from motiontrace.attribution.families import Checkpoint

NoiseLevel = Literal["high", "low"]


class FinetuneSettings(BaseModel):
    """How a checkpoint is fine-tuned. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_type: Literal["lora", "full"] = Field(default="lora", description="what is trained: lora or full")
    noise_level: NoiseLevel | None = Field(
        default=None,
        description="which transformer is trained where a checkpoint has two, by the noise that it serves: high or low",
    )
    train_steps: int = Field(default=1000, ge=1, le=10_000_000, description="steps of the optimizer")
    batch_size: int = Field(default=1, ge=1, le=4096, description="clips that each device takes at once")
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=4096, description="passes of batch_size clips whose gradients make one step"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute activations again in the backward pass: less memory, a third slower"
    )
    mixed_precision: Literal["no", "bf16"] = Field(
        default="no", description="number format of the passes, and of frozen weights: no (float32) or bf16"
    )
    caption_dropout_p: float = Field(
        default=0.0, ge=0, lt=1, description="share of draws that see the empty caption, for classifier-free guidance"
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="seed of everything random")
    clips: ClipSettings = ClipSettings()
    timesteps: TimestepSettings = TimestepSettings()
    lora: LoraSettings | None = Field(default=LoraSettings(), description="the adapter; None: training_type full")
    optimizer: OptimizerSettings = OptimizerSettings()

    @property
    def frozen_dtype(self) -> Literal["float32", "bfloat16"]:
        """Number format of weights that are not trained."""
        return "bfloat16" if self.mixed_precision == "bf16" else "float32"

    def draws(self, processes: int) -> int:
        """Clips behind one step."""
        return self.batch_size * self.gradient_accumulation_steps * processes

    def of_the_result(self) -> dict[str, Any]:
        """The settings that a result follows from: all but how a step is divided."""
        divided = {"batch_size", "gradient_accumulation_steps", "gradient_checkpointing"}
        return self.model_dump(mode="json", exclude=divided)


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
    return FinetuneSettings(
        clips=clips,
        timesteps=timesteps,
        lora=None if full else LoraSettings(**adapter),
        optimizer=OptimizerSettings(**_taken(values, OptimizerSettings.model_fields)),
        **values,
    )


def served_timesteps(settings: FinetuneSettings) -> list[float]:
    """Timesteps of training by which a checkpoint of two transformers tells which one is meant."""
    return [0.0 if settings.noise_level == "low" else 1000.0]


def _bounds(checkpoint: Checkpoint, level: Any) -> dict[str, float]:
    """The noise levels that the trained transformer serves; raises FinetuningError where it is not told which one."""
    boundary, levels = checkpoint.index.get("boundary_ratio"), get_args(NoiseLevel)
    if boundary is None:
        if level is not None:
            raise FinetuningError(f"noise_level: {checkpoint.location} has one transformer, for all levels of noise.")
        return {}
    if level not in levels:
        raise FinetuningError(
            f"{checkpoint.location} has two transformers, for timesteps from {1000 * boundary:g} on (noise_level high)"
            f" and for those below (low). One is trained at a time: give --noise-level {' or '.join(levels)}."
        )
    return {"lowest": boundary} if level == "high" else {"highest": boundary}


def _taken(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values.pop(name) for name in names if name in values}
