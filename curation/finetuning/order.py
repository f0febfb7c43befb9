"""Chance in a run: which clip comes next, and the noise each draw is given.

Everything follows from the seed and the number of the draw. Nothing is carried from step to step, so a run that was
stopped goes on exactly, and the draws of many devices are those of one.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ORDER, _DRAW, _STEP = range(3)  # what a seed is for


def clip_order(weights: Sequence[float], seed: int, first: int = 0) -> Iterator[int]:
    """An endless order of clips, by place, from draw number `first` on.

    `weights`, all above 0, count relative to their mean: a clip of that weight comes once a pass, one of half of it
    once in two passes, one of twice of it two times a pass, at a random place. Equal weights: every clip once a pass.
    """
    rate = np.asarray(weights, dtype=np.float64)
    rate = rate / rate.mean()
    phase = np.random.default_rng([_ORDER, seed]).random(len(rate))
    for number in count():
        times = np.floor((number + 1) * rate + phase) - np.floor(number * rate + phase)
        order = np.repeat(np.arange(len(rate)), times.astype(np.int64))
        np.random.default_rng([_ORDER, seed, number]).shuffle(order)
        skipped = min(first, len(order))
        first -= skipped
        yield from islice(order.tolist(), skipped, None)


def draw_generator(seed: int, draw: int) -> torch.Generator:
    """The generator of one draw's timestep, caption and noise, on the CPU whatever the device."""
    return torch.Generator().manual_seed(_seed(_DRAW, seed, draw))


def step_seed(seed: int, step: int, process: int) -> int:
    """Seed of what else is random in a step: a model's own dropout."""
    return _seed(_STEP, seed, step, process)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
