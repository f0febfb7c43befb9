"""Measuring on a sample of a new index's clips what its recipe divides by, where it normalises channels or gradients.

It takes one pass of the model, or one with its gradients, for each clip of a small sample and each timestep and noise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import torch

from attribution.gradient import channel_scales, gradient_scales
from attribution.preparation import PreparedClip
from attribution.video import VideoLimits
from indexer.ahead import ahead
from indexer.calibration import draw_sample
from indexer.inspection import prepare
from indexer.manifest import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attribution.engine import MotionEngine
    from indexer.manifest import ManifestRow

CLIPS = 64
"""Moving clips that scales are measured on, or as many as there are."""


def measure_channel_scales(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    *,
    decoders: int = 2,
    on_clip: Callable[[int], None] | None = None,
) -> MotionEngine:
    """The engine with scales of the latent channels measured on :data:`CLIPS` moving clips of ``rows``.

    The clips are spread over the rows, and the same rows give the same ones. They are taken one at a time and the
    scales are rounded, so that a run that was killed measures the same again. ``on_clip`` hears how many clips have
    been measured. Raises ManifestError where none can be used and moves.
    """
    errors = _measure(rows, engine, engine.channel_errors, decoders, on_clip, "--latent-normalisation none")
    return engine.with_channel_scales(channel_scales(errors))


def measure_gradient_scales(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    *,
    decoders: int = 2,
    on_clip: Callable[[int], None] | None = None,
) -> MotionEngine:
    """The engine with scales of the attributed parameters, measured as :func:`measure_channel_scales` does."""
    squares = _measure(rows, engine, engine.gradient_squares, decoders, on_clip, "--gradient-normalisation none")
    return engine.with_gradient_scales(gradient_scales(squares))


def _measure(rows: Sequence[ManifestRow], engine: MotionEngine, measure: Callable[[PreparedClip, str], torch.Tensor],
             decoders: int, on_clip: Callable[[int], None] | None, without: str) -> torch.Tensor:  # fmt: skip
    """What ``measure`` gives of each clip, [clips, ...]; ``without`` is the option that needs no such clips."""
    sample, reserve = draw_sample(len(rows), CLIPS, seed=0)
    look = partial(_look, engine)
    measured: list[torch.Tensor] = []
    with ThreadPoolExecutor(decoders, thread_name_prefix="decode") as pool:
        for clip, caption in ahead(pool, look, (rows[number] for number in sample + reserve), 2 * decoders):
            if clip is not None:
                found = measure(clip, caption)
                # Without any error, as where no flow agrees with the flow back, there is nothing to measure.
                if torch.isfinite(found).all() and found.any():
                    measured.append(found)
                    (on_clip or _silent)(len(measured))
            if len(measured) == CLIPS:
                break
    if not measured:
        raise ManifestError(
            f"none of the {len(rows):,} clips can be used and moves, and the recipe's scales are measured on clips that"
            f" do. Is this the right manifest? Without such clips, index with {without}."
        )
    return torch.stack(measured)


def _look(engine: MotionEngine, row: ManifestRow) -> tuple[PreparedClip | None, str]:
    """None where the clip cannot be used or does not move."""
    clip = prepare(engine, row.video, VideoLimits())
    return (clip if isinstance(clip, PreparedClip) and clip.motion.moves else None), row.caption


def _silent(clips: int) -> None:
    """Hears nothing."""
