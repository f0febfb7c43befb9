"""All that a fine-tuning run follows from, as one value; names and defaults are those of the common trainers.

Each field is a setting, written here and nowhere else: name, type, text and default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motiontrace.fields import Flag, Mark

NoiseLevel = Literal["high", "low"]
_FROZEN = ConfigDict(frozen=True, extra="forbid")
_MOST_WARMUP = 500  # steps


class ClipSettings(BaseModel):
    """What the model sees of a clip; the names and the sampling rule of an index's recipe. Frozen."""

    model_config = _FROZEN

    height: int = Field(default=480, ge=8, le=4096, description="Height of the model's frames, pixels.")
    width: int = Field(default=832, ge=8, le=4096, description="Width of the model's frames, pixels.")
    frames: int = Field(default=81, ge=1, le=1024, description="Number of the model's frames.")
    fps: Annotated[float | None, Flag(default="spread over the whole clip")] = Field(
        default=None, gt=0, le=240, description="Frames sampled a second."
    )


class TimestepSettings(BaseModel):
    """The distribution that the timesteps of training are drawn from; frozen."""

    model_config = _FROZEN

    flow_weighting_scheme: Literal["logit_normal", "uniform"] = Field(
        default="logit_normal", description="Flow matching: density of the timesteps, logit_normal or uniform."
    )
    flow_logit_mean: float = Field(
        default=0.0, allow_inf_nan=False, description="Mean of logit_normal's logit; above 0 is more noise."
    )
    flow_logit_std: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="Standard deviation of logit_normal's logit."
    )
    flow_shift: Annotated[float, Flag(default="the checkpoint's scheduler's")] = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Flow matching: how far timesteps move to more noise; 1: not at all.",
    )
    lowest: Annotated[float, Mark.FIXED] = Field(
        default=0.0, ge=0, lt=1, description="Least timestep, as a share of those of training."
    )
    highest: Annotated[float, Mark.FIXED] = Field(
        default=1.0, gt=0, le=1, description="Greatest timestep, as a share of those of training."
    )
    whole: Annotated[bool, Mark.FIXED] = Field(
        default=False, description="Whole timesteps only: 0 to one less than there are in training."
    )

    @model_validator(mode="after")
    def _some_are_between(self) -> TimestepSettings:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest must be below highest: {self.lowest} is not below {self.highest}")
        return self


class LoraSettings(BaseModel):
    """The adapter; names and defaults of diffusers' and finetrainers' scripts. Frozen."""

    model_config = _FROZEN

    rank: int = Field(default=128, ge=1, le=4096, description="LoRA: rank of each layer's update.")
    lora_alpha: int = Field(
        default=128, ge=1, le=65_536, description="LoRA: the update is scaled by this over the rank."
    )
    target_modules: tuple[str, ...] = Field(
        default=("to_q", "to_k", "to_v", "to_out.0"),
        min_length=1,
        description="LoRA: ends of the names of linear layers that get an update.",
    )


class OptimizerSettings(BaseModel):
    """How the weights are changed. Frozen."""

    model_config = _FROZEN

    learning_rate: float = Field(default=1e-4, gt=0, lt=1, description="Learning rate after the warm-up.")
    lr_scheduler: Literal["constant_with_warmup", "cosine"] = Field(
        default="constant_with_warmup",
        description="After the warm-up: constant_with_warmup, or cosine, to 0 at the last step.",
    )
    lr_warmup_steps: Annotated[int | None, Flag(default="a tenth, at most 500")] = Field(
        default=None, ge=0, description="Steps in which the learning rate rises from 0."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay of the mean squared gradient.")
    weight_decay: float = Field(default=1e-4, ge=0, lt=1, description="AdamW's weight decay.")
    epsilon: float = Field(default=1e-8, gt=0, lt=1, description="AdamW's epsilon.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="Longer gradients are cut to this length."
    )

    def warmup(self, steps: int) -> int:
        """Steps of warm-up in a run of `steps`."""
        return min(_MOST_WARMUP, steps // 10) if self.lr_warmup_steps is None else self.lr_warmup_steps


class FinetuneSettings(BaseModel):
    """How a checkpoint is fine-tuned. Frozen."""

    model_config = _FROZEN

    training_type: Literal["lora", "full"] = Field(default="lora", description="lora, or full: the whole denoiser.")
    noise_level: NoiseLevel | None = Field(
        default=None,
        description="Which of two transformers is trained, by its noise: high or low.",
    )
    train_steps: int = Field(default=1000, ge=1, le=10_000_000, description="Steps of the optimizer.")
    batch_size: int = Field(default=1, ge=1, le=4096, description="Clips that each device takes at once.")
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=4096, description="Passes of --batch-size clips that make one step."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations again in the backward pass: less memory, a third slower."
    )
    mixed_precision: Annotated[Literal["no", "bf16"], Flag(default="bf16 on a GPU, else no")] = Field(
        default="no", description="Number format of the passes, and of frozen weights: no (float32) or bf16."
    )
    caption_dropout_p: float = Field(
        default=0.0, ge=0, lt=1, description="Share of draws with the empty caption, for classifier-free guidance."
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of everything random.")
    clips: Annotated[ClipSettings, Mark.FLAT] = ClipSettings()
    timesteps: Annotated[TimestepSettings, Mark.FLAT] = TimestepSettings()
    lora: Annotated[LoraSettings | None, Mark.FLAT] = Field(
        default=LoraSettings(), description="The adapter; None: training_type full."
    )
    optimizer: Annotated[OptimizerSettings, Mark.FLAT] = OptimizerSettings()

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


class CheckpointSettings(BaseModel):
    """When checkpoints are written; none of it changes what a run comes to. Frozen."""

    model_config = _FROZEN

    checkpointing_steps: int = Field(default=500, ge=1, description="A checkpoint after so many steps.")
    checkpointing_minutes: float = Field(
        default=15,
        gt=0,
        description="A checkpoint after so many minutes, if that comes first.",
    )
    checkpoints_total_limit: int = Field(default=1, ge=1, description="Checkpoints kept; none after the last step.")
