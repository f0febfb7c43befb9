"""The clips of an evaluation, decoded and encoded once and held in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import GradientError
from motiontrace.attribution.preparation import PreparedClip, prepare_clip
from motiontrace.attribution.threads import Threads
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.spelling import hint
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.indexer.ahead import ahead
from motiontrace.indexer.manifest import RefusedRow, read_manifest, require_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from motiontrace.attribution.families import VideoDiffusionModel
    from motiontrace.attribution.recipe import Recipe
    from motiontrace.indexer.manifest import ManifestRow

_NOTHING = (None, "")  # what a metadata field that is empty holds


@dataclass(frozen=True)
class Clips:
    """N clips in which something moves, as the model and the controls see them."""

    rows: list[ManifestRow]
    prepared: list[PreparedClip]
    latent: torch.Tensor
    """float32 [N, C, f, h, w], normalised as the family's pipeline does."""
    prompt: torch.Tensor
    """[N, L, D]."""
    weight: torch.Tensor
    """The motion weight on the latent grid, float32 [N, f, h, w]: what outcomes are measured with, whatever a method
    that predicts them weighs."""

    fps: float | None = None
    """Frames that were sampled a second; None: they are spread over the whole clip."""

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    def rate(self, place: int) -> float:
        """How many of a clip's frames, as the model sees them, make a second."""
        clip = self.prepared[place]
        return self.fps or (len(clip.frames) - 1) * clip.info.fps / (clip.info.frames - 1)


def read_rows(
    manifest: Path,
    fields: Sequence[str],
    on_refused: Callable[[RefusedRow], None] = lambda row: None,
    *,
    strict: bool = False,
) -> list[ManifestRow]:
    """The rows of a manifest that have the metadata `fields`.

    `on_refused` is called with each row that cannot be used.

    Raises ManifestError where the manifest cannot be read or none of its videos is there, and EvaluationError where no
    row has a field; with `strict` for the first row that cannot be used.
    """
    rows = read_manifest(manifest, on_refused, strict=strict)
    require_files(manifest, rows)
    for field in fields:
        has = [row for row in rows if row.metadata.get(field) not in _NOTHING]
        if not has:
            columns = sorted({name for row in rows for name in row.metadata})
            end = hint([field], columns)
            raise EvaluationError(f"{rows[0].video} has no {field!r} in the manifest, and no other clip has{end}")
        if strict:
            metadata_values(rows, field)
        for row in rows:
            if row.metadata.get(field) in _NOTHING:
                on_refused(RefusedRow(row.number, row.place, f"no {field}", f"there is no {field!r}."))
        rows = has
    return rows


def metadata_values(rows: Sequence[ManifestRow], field: str) -> list[str]:
    """A metadata field of every row; raises EvaluationError, which names the clip, where one has none."""
    for row in rows:
        if row.metadata.get(field) in _NOTHING:
            raise EvaluationError(f"{row.video} has no {field!r} in the manifest; every clip needs one")
    return [str(row.metadata[field]) for row in rows]


def prepare_clips(
    rows: Sequence[ManifestRow],
    model: VideoDiffusionModel,
    recipe: Recipe,
    on_clip: Callable[[str | None], Any] = lambda problem: None,
) -> Clips:
    """Decodes and encodes `rows` for `model`; clips in which nothing moves are left out, and broken ones too.

    `on_clip` is called after each row with None, or with what was wrong. Raises EvaluationError where no clip is left.
    """
    import torch  # takes seconds, and a manifest is read without it

    kept, prepared, latents, prompts = [], [], [], []
    grid = model.latent_shape(recipe.frames, recipe.height, recipe.width)[1:]

    def prepare(row: ManifestRow) -> PreparedClip | str:
        try:
            return prepare_clip(row.video, recipe, grid, model.temporal_compression, on_stage=lambda stage: None)
        except (VideoError, GradientError) as error:
            return f"{row.where}: {error}"

    with Threads(1) as pool:
        for row, clip in zip(rows, ahead(pool, prepare, rows, 1), strict=True):
            if not isinstance(clip, str) and clip.motion.moves:
                kept.append(row)
                prepared.append(clip)
                latents.append(model.encode_video(torch.from_numpy(clip.frames)[None]).cpu())
                prompts.append(model.encode_prompt(row.caption).cpu())
            on_clip(clip if isinstance(clip, str) else None)
    if not kept:
        raise EvaluationError("there is no clip in which something moves")
    weight = torch.stack([clip.weight for clip in prepared])
    return Clips(kept, prepared, torch.cat(latents), torch.cat(prompts), weight, recipe.fps)
