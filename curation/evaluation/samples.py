"""Videos that a fine-tuned model generates, measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from motiontrace.curation.comparison.measures import MEASURES, measure_video
from motiontrace.curation.evaluation.statistics import means
from motiontrace.curation.generation import GenerationSettings, generate, load_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from motiontrace.attribution.families import Checkpoint


class Sampler:
    """Generates with whatever weights an experiment has left in its denoiser."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        part: str,
        count: int,
        gravities: Mapping[str, float],
        fps: float | None,
        device: str | None = None,
    ) -> None:
        """`count` videos for a motion; `gravities` in frame heights / s^2, by motion, where they are known.

        `part` is the pipeline's part that is trained. `fps` is the videos' frame rate, None: the family's.
        """
        self._pipeline = load_pipeline(checkpoint.location, device=device)
        self._part, self._count, self._gravities = part, count, gravities
        self._settings = GenerationSettings.of(checkpoint, fps=fps)

    @property
    def about(self) -> list[Any]:
        """All that its measures depend on beside the weights, the motion and the prompts."""
        return [asdict(self._settings), self._count, sorted(self._gravities.items())]

    def measures(self, weights: Mapping[str, torch.Tensor], motion: str, prompts: Sequence[str]) -> dict[str, float]:
        """The mean of each measure over the videos that have it; prompts take turns, and each turn is a seed."""
        getattr(self._pipeline, self._part).load_state_dict(weights)
        asked = [(prompts[number % len(prompts)], number // len(prompts)) for number in range(self._count)]
        videos = generate(
            self._pipeline, [text for text, _ in asked], [seed for _, seed in asked], **self._settings.for_model()
        )
        return self.mean_measures(((video, self._settings.fps) for video in videos), motion)

    def mean_measures(self, videos: Iterable[tuple[NDArray[np.uint8], float]], motion: str) -> dict[str, float]:
        """The mean of each measure over those of a motion's `videos` that have it.

        A video is uint8 RGB [F, H, W, 3] and its frames a second.
        """
        measured = (measure_video(video, fps, self._gravities.get(motion)) for video, fps in videos)
        return means(
            {measure.name: value for measure in MEASURES if (value := measure.of(video)) is not None}
            for video in measured
        )
