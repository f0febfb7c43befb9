"""Measuring the scales of a new index's latent channels, where its recipe normalises them.

It takes one forward pass of the model for each clip of a small sample, before anything is differentiated.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import torch

from attribution.gradient import channel_scales
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
"""Moving clips that the scales are measured on, or as many as there are."""


def measure_channel_scales(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    *,
    decoders: int = 2,
    on_clip: Callable[[int], None] | None = None,
) -> MotionEngine:
    """The engine with scales measured on :data:`CLIPS` moving clips of ``rows``, spread over them.

    The same rows give the same clips. They are taken one at a time and the scales are rounded, so that a run that was
    killed measures the same again. ``on_clip`` hears how many clips have been measured. Raises ManifestError where
    none can be used and moves.
    """
    sample, reserve = draw_sample(len(rows), CLIPS, seed=0)
    look = partial(_look, engine)
    errors: list[torch.Tensor] = []
    with ThreadPoolExecutor(decoders, thread_name_prefix="decode") as pool:
        for clip, caption in ahead(pool, look, (rows[number] for number in sample + reserve), 2 * decoders):
            if clip is not None:
                found = engine.channel_errors(clip, caption)
                # Without any error, as where no flow agrees with the flow back, there are no shares of it.
                if torch.isfinite(found).all() and found.any():
                    errors.append(found)
                    (on_clip or _silent)(len(errors))
            if len(errors) == CLIPS:
                break
    if not errors:
        raise ManifestError(
            f"none of the {len(rows):,} clips can be used and moves, and the latent channels' scales are measured on"
            " clips that do. Is this the right manifest? Without such clips, index with --latent-normalisation none."
        )
    return engine.with_channel_scales(channel_scales(torch.stack(errors)))


def _look(engine: MotionEngine, row: ManifestRow) -> tuple[PreparedClip | None, str]:
    """None where the clip cannot be used or does not move."""
    clip = prepare(engine, row.video, VideoLimits())
    return (clip if isinstance(clip, PreparedClip) and clip.motion.moves else None), row.caption


def _silent(clips: int) -> None:
    """Hears nothing."""
