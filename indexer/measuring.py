"""Measuring the scales of a new index, where its recipe divides latent channels or gradients by them.

Each clip of a small sample takes a forward pass for each timestep and noise; for gradients a backward pass, too.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import torch

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.gradient import channel_scales, gradient_scales
from motiontrace.attribution.preparation import PreparedClip
from motiontrace.attribution.recipe import Recipe
from motiontrace.attribution.threads import Threads
from motiontrace.attribution.video import VideoLimits
from motiontrace.catalog.durable_files import access_to, write_atomically
from motiontrace.indexer.ahead import ahead
from motiontrace.indexer.batches import SURPRISES
from motiontrace.indexer.calibration import draw_sample
from motiontrace.indexer.inspection import prepare
from motiontrace.indexer.manifest import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motiontrace.attribution.engine import MotionEngine
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.inspection import Failure
    from motiontrace.indexer.manifest import ManifestRow

CLIPS = 64
"""Moving clips that scales are measured on, or as many as there are."""
_SHOWN = 3  # clips whose trouble an error names


class KeptScales:
    """The measured scales of a new index that is not made yet: a run that was killed goes on with the same."""

    def __init__(self, places: CatalogSettings, index: str, recipe: Recipe) -> None:
        """`index` is a name that an index can have; the file goes with its kept sketches."""
        self._folder = places.calibration_directory / index
        self._file = self._folder / f"{recipe.unmeasured().digest}.json"

    def given_to(self, engine: MotionEngine) -> MotionEngine:
        """The engine with the scales that are kept; as it is where none are, or none that can be read."""
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            return engine.under(Recipe.model_validate({**engine.recipe.model_dump(), **kept}), None)
        except (OSError, ValueError, TypeError, ModelError):  # ValidationError is a ValueError
            return engine

    def save(self, recipe: Recipe) -> None:
        """Keeps the recipe's scales; raises CatalogError where the disk does not take them."""
        scales = recipe.model_dump(mode="json", include={"channel_scales", "gradient_scales"})
        with access_to(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, [json.dumps(scales).encode()])


def measure_channel_scales(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    *,
    decoders: int = 2,
    on_clip: Callable[[int], None] | None = None,
) -> MotionEngine:
    """The engine with scales of the latent channels, measured on `CLIPS` moving clips spread over `rows`.

    The same rows give the same clips.

    Args:
        rows: of the manifest.
        engine: of a recipe without these scales.
        decoders: threads that decode ahead of the model.
        on_clip: is called with how many clips are measured.

    Raises:
        ManifestError: no clip can be used and moves; gives some clips' reasons.
        Exception: the engine fails on many clips in a row, which is no clip's own fault.
    """
    return engine.with_channel_scales(channel_scales(_measure(rows, engine, engine.channel_errors, decoders, on_clip)))


def measure_gradient_scales(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    *,
    decoders: int = 2,
    on_clip: Callable[[int], None] | None = None,
) -> MotionEngine:
    """The engine with scales of the attributed parameters, measured as `measure_channel_scales` does."""
    squares = _measure(rows, engine, engine.gradient_squares, decoders, on_clip)
    return engine.with_gradient_scales(gradient_scales(squares))


def _measure(
    rows: Sequence[ManifestRow],
    engine: MotionEngine,
    measure: Callable[[PreparedClip, str], torch.Tensor],
    decoders: int,
    on_clip: Callable[[int], None] | None,
) -> torch.Tensor:
    """What `measure` gives of each clip, [clips, ...]."""
    sample, reserve = draw_sample(len(rows), CLIPS, seed=0)
    measured: list[torch.Tensor] = []
    troubles: list[str] = []
    surprises = 0
    with Threads(decoders) as pool:
        look = partial(_look, engine)
        for row, clip in ahead(pool, look, (rows[number] for number in sample + reserve), 2 * decoders):
            if not isinstance(clip, PreparedClip):
                troubles.append(f"{row.video}: {clip.reason}")
            elif not clip.motion.moves:
                troubles.append(f"{row.video}: nothing moves")
            else:
                try:
                    found = measure(clip, row.caption)
                except Exception as error:
                    surprises += 1
                    if surprises >= SURPRISES:
                        raise
                    troubles.append(f"{row.video}: {type(error).__name__}: {error}")
                    continue
                surprises = 0
                # Without any error, as where no flow agrees with the flow back, there is nothing to measure.
                if torch.isfinite(found).all() and found.any():
                    measured.append(found)
                    (on_clip or _silent)(len(measured))
            if len(measured) == CLIPS:
                break
    if not measured:
        shown = "".join(f"\n  {trouble}" for trouble in troubles[:_SHOWN])
        raise ManifestError(
            f"none of the {len(rows):,} clips can be used and moves, and the recipe's scales are measured on clips that"
            " do. Is this the right manifest? Without such clips, index with --gradient-normalisation none and"
            f" --latent-normalisation none.{shown}"
        )
    return torch.stack(measured)


def _look(engine: MotionEngine, row: ManifestRow) -> tuple[ManifestRow, PreparedClip | Failure]:
    return row, prepare(engine, row.video, VideoLimits())


def _silent(clips: int) -> None:
    """Does nothing."""
