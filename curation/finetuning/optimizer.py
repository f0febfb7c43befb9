"""AdamW and its learning rate, with the names and defaults of diffusers' training scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers.optimization import get_scheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from motiontrace.curation.finetuning.settings import OptimizerSettings


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
