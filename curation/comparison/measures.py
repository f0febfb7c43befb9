"""Everything that is measured of one video, and what each number means to a reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motiontrace.curation.comparison.flight import FreeFlight, fit_free_flight
from motiontrace.curation.comparison.metrics import MotionMetrics, motion_metrics
from motiontrace.curation.comparison.tracking import Track, track_object

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoMeasures:
    """One video, measured.

    Attributes:
        motion: by optical flow.
        track: of the object.
        flight: None where it is not seen to fly, or its tracking failed.
        gravity: what it should fall by, frame heights / s^2; None: not known.
    """

    motion: MotionMetrics
    track: Track
    flight: FreeFlight | None
    gravity: float | None

    @property
    def gravity_error(self) -> float | None:
        """Of its acceleration; None without a gravity or a flight."""
        return None if self.flight is None or self.gravity is None else self.flight.gravity_error(self.gravity)


def measure_video(frames: NDArray[np.uint8], fps: float, gravity: float | None = None) -> VideoMeasures:
    """Measures RGB uint8 [F, H, W, 3] at `fps` frames a second."""
    track = track_object(frames)
    flight = None if track.failed else fit_free_flight(track, fps)
    return VideoMeasures(motion_metrics(frames, fps), track, flight, gravity)


@dataclass(frozen=True)
class Measure:
    """One number of a video.

    Attributes:
        name: in the JSON.
        title: for people, with its unit.
        meaning: one sentence.
        better: 1 more is better, -1 less is better, 0 neither.
        of: its value; None where the video has none.
        of_path: whether it is read off the object's path: a video whose tracking failed has none.
    """

    name: str
    title: str
    meaning: str
    better: int
    of: Callable[[VideoMeasures], float | None] = field(repr=False)
    of_path: bool = False


MEASURES = (
    Measure(
        "dynamic_degree",
        "dynamic degree, short sides/s",
        "speed of the fastest twentieth of the picture",
        0,
        lambda video: video.motion.dynamic_degree,
    ),
    Measure(
        "dynamic",
        "dynamic, share of videos",
        "fast enough to count as dynamic in VBench",
        0,
        lambda video: float(video.motion.dynamic),
    ),
    Measure(
        "smoothness",
        "smoothness",
        "how well the frames between predict one that moves; 1: exactly",
        1,
        lambda video: video.motion.smoothness,
    ),
    Measure(
        "steadiness",
        "steadiness",
        "how little what stands still flickers; 1: not at all",
        1,
        lambda video: video.motion.steadiness,
    ),
    Measure(
        "found",
        "object found, share of frames",
        "in how many frames a moving object is found",
        1,
        lambda video: video.track.found,
    ),
    Measure(
        "tracked",
        "object followed, share of videos",
        "in how many videos the tracking did not fail",
        1,
        lambda video: float(not video.track.failed),
    ),
    Measure(
        "area_variation",
        "change of its area",
        "spread of the object's area over its mean; 0: it stays one thing",
        -1,
        lambda video: None if video.track.failed else video.track.area_variation,
        of_path=True,
    ),
    Measure(
        "flies",
        "flies, share of videos",
        "in how many videos the object rises or falls freely",
        0,
        lambda video: None if video.track.failed else float(video.flight is not None),
        of_path=True,
    ),
    Measure(
        "acceleration",
        "acceleration, heights/s²",
        "downwards, one for all of its free flights",
        0,
        lambda video: video.flight.acceleration if video.flight else None,
        of_path=True,
    ),
    Measure(
        "residual",
        "off the parabola, heights",
        "frame heights from any constant acceleration; 0: on a parabola",
        -1,
        lambda video: video.flight.residual if video.flight else None,
        of_path=True,
    ),
    Measure(
        "restitution",
        "speed kept in a bounce",
        "over 1 a bounce gains height from nowhere",
        0,
        lambda video: video.flight.restitution if video.flight else None,
        of_path=True,
    ),
    Measure(
        "gravity_error",
        "error of gravity",
        "|a - g| / g; 0: falls as it should, 1: at an even speed",
        -1,
        lambda video: video.gravity_error,
        of_path=True,
    ),
)
