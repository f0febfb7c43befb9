"""What a comparison found: the videos of both models with their measures, and each measure over all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.curation.comparison.differences import Difference, paired_difference
from motiontrace.curation.comparison.measures import MEASURES, VideoMeasures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.curation.comparison.models import ComparedModel
    from motiontrace.curation.comparison.prompts import Prompt
    from motiontrace.curation.generation import GenerationSettings


@dataclass(frozen=True)
class ComparedVideo:
    """One video of one model.

    Attributes:
        exact, shown, heat: files, relative to the folder of the comparison: as generated, as H.264, and that with the
            motion weight laid over it.
        measures: its motion.
    """

    exact: str
    shown: str
    heat: str
    measures: VideoMeasures


@dataclass(frozen=True)
class Comparison:
    """Two models on the same prompts and seeds.

    Attributes:
        folder: where its files are.
        models: base and tuned.
        settings: what all videos were generated with.
        dtype: number format of the denoisers.
        prompts, seeds: of the videos.
        videos: by label of the model, prompt and seed: videos["base"][prompt index][seed index].
    """

    folder: Path
    models: tuple[ComparedModel, ComparedModel]
    settings: GenerationSettings
    dtype: str
    prompts: Sequence[Prompt]
    seeds: Sequence[int]
    videos: dict[str, list[list[ComparedVideo]]]

    @cached_property
    def totals(self) -> dict[str, Difference]:
        """Each measure over all pairs, by its name."""
        return {
            each.name: paired_difference(_table(self.videos["base"], each.of), _table(self.videos["tuned"], each.of))
            for each in MEASURES
        }

    @property
    def failed(self) -> dict[str, int]:
        """In how many videos the tracking failed, by label of the model."""
        return {
            label: sum(video.measures.track.failed for row in rows for video in row)
            for label, rows in self.videos.items()
        }

    @property
    def followed(self) -> float:
        """Share of the pairs in which neither tracking failed."""
        pairs = [
            not any(video.measures.track.failed for video in pair)
            for rows in zip(*self.videos.values(), strict=True)
            for pair in zip(*rows, strict=True)
        ]
        return sum(pairs) / len(pairs)


def _table(videos: list[list[ComparedVideo]], of: Any) -> NDArray[np.float64]:
    """A measure of a model's videos, [prompts, seeds]; NaN for none."""
    values = [[of(video.measures) for video in row] for row in videos]
    return np.array([[np.nan if value is None else value for value in row] for row in values], dtype=np.float64)
