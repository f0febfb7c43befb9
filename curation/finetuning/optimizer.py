"""AdamW and its learning rate, with the names and defaults of diffusers' training scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from diffusers.optimization import get_scheduler
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_WARMUP = 500  # steps


class OptimizerSettings(BaseModel):
    """How the weights are changed. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-4, gt=0, lt=1, description="learning rate after the warm-up")
    lr_scheduler: Literal["constant_with_warmup", "cosine"] = Field(
        default="constant_with_warmup", description="what the learning rate does after the warm-up"
    )
    lr_warmup_steps: int | None = Field(
        default=None, ge=0, description="steps in which it rises from 0; None: a tenth of all, at most 500"
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay of the mean squared gradient")
    weight_decay: float = Field(default=1e-4, ge=0, lt=1, description="AdamW's weight decay")
    epsilon: float = Field(default=1e-8, gt=0, lt=1, description="AdamW's epsilon")
    max_grad_norm: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="longer gradients are cut to this length"
    )

    def warmup(self, steps: int) -> int:
        """Steps of warm-up in a run of `steps`."""
        return min(_MOST_WARMUP, steps // 10) if self.lr_warmup_steps is None else self.lr_warmup_steps


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], settings: OptimizerSettings, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """The optimizer of `parameters` and its learning rate's schedule over `steps`."""
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
    schedule = get_scheduler(
        settings.lr_scheduler, optimizer, num_warmup_steps=settings.warmup(steps), num_training_steps=steps
    )
    return optimizer, schedule
