"""What both trainings share: the learning rate's course, and saying how far along they are."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: a linear warm-up, then half a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def report_every(period: int, steps: int, say: Callable[[str], None]) -> Callable[[int, float], None]:
    """A function of (step, loss) that says step, smoothed loss and time left every `period` steps."""
    start, smooth = time.monotonic(), math.nan

    def report(step: int, loss: float) -> None:
        nonlocal smooth
        smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
        if (step + 1) % period == 0 or step + 1 == steps:
            left = (time.monotonic() - start) / (step + 1) * (steps - step - 1)
            say(f"step {step + 1:>5}/{steps}  loss {smooth:.4f}  {left / 60:.0f} min left")

    return report
