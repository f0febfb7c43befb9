"""Samples of a clip and its different pictures: a clip with fewer pictures than samples repeats some.

Motion is measured between different pictures. Two samples of one picture show no motion, but the clip does not stand
still there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from motiontrace.attribution.motion import MotionSummary
    from motiontrace.attribution.video import DecodedVideo

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Samples:
    """Which of its P pictures each of a clip's F samples shows.

    Attributes:
        first: the first sample of each picture, int [P].
        picture: the picture of each sample, int [F].
    """

    first: NDArray[np.intp]
    picture: NDArray[np.intp]

    @classmethod
    def of(cls, source_index: Sequence[int]) -> Samples:
        """From the decoded frame of each sample, as in `DecodedVideo`; where its number changes, a picture begins."""
        new = np.diff(source_index, prepend=-1) != 0
        return cls(np.flatnonzero(new), np.cumsum(new) - 1)

    @property
    def repeat(self) -> bool:
        """Whether some picture is sampled more than once."""
        return len(self.first) < len(self.picture)

    def pictures(self, video: DecodedVideo) -> NDArray[np.uint8]:
        """The clip's different pictures, [P, height, width, 3]."""
        return video.frames if not self.repeat else video.frames[self.first]

    def spread(self, values: NDArray[Number]) -> NDArray[Number]:
        """The values of each picture, [P, ...], repeated for each of its samples, [F, ...]."""
        return values[self.picture] if self.repeat else values

    def spread_summary(self, motion: MotionSummary) -> MotionSummary:
        """The summary of the pictures' motion, with `mean` and `per_frame` over samples."""
        per_frame = [motion.per_frame[picture] for picture in self.picture]
        return replace(motion, mean=float(np.mean(per_frame)), per_frame=tuple(per_frame))
