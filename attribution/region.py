"""When and where a clip moves: reviewers see it as ranges on the time line and a box over the picture.

Both are derived from the motion magnitude and change no gradient. A pixel moves if its magnitude reaches the settings'
floor and `MOVING_SHARE` of the clip's peak. A frame moves if `TOP_SHARE` of its pixels do, as in `summarise`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.attribution.flow import SEEN_PATCH
from motiontrace.attribution.motion import TOP_SHARE
from motiontrace.attribution.opencv import cv2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from motiontrace.attribution.motion import MotionSummary
    from motiontrace.attribution.video import DecodedVideo, VideoInfo

MOVING_SHARE = 0.05  # of the clip's peak: a hand that trembles does not move beside a car that drives
HEAVY_SHARE = 0.05  # of the heaviest part's weight: lighter parts are specks
PAUSE = 0.5  # seconds: a shorter standstill does not end a range
MAX_RANGES = 20
MAX_KEYFRAMES = 200
MAX_DEVIATION = 0.02  # of the picture: how far an interpolated box may be off
DECIMALS = 4  # of a box's fractions: finer than a pixel
_WIDENED = SEEN_PATCH // 2  # pixels by which motion is seen beyond the thing that moves


@dataclass(frozen=True)
class BoxKeyframe:
    """The box at one time; between two keyframes it is interpolated.

    Attributes:
        time: seconds from the start of the clip.
        x, y: upper left corner, in [0, 1] of the picture as displayed.
        width, height: in [0, 1] of the picture as displayed.
        visible: whether there is a box from here on; False ends it.
    """

    time: float
    x: float
    y: float
    width: float
    height: float
    visible: bool = True


@dataclass(frozen=True)
class MotionRegion:
    """When and where a clip moves.

    Attributes:
        ranges: (start, end) in seconds from the start of the clip, in order and apart, 1 to `MAX_RANGES`.
        keyframes: of the one box around whatever moves, in order, 2 to `MAX_KEYFRAMES`.
    """

    ranges: tuple[tuple[float, float], ...]
    keyframes: tuple[BoxKeyframe, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is stored and served: {"ranges": [{"start", "end"}], "boxes": [{"keyframes": [...]}]}."""
        return {
            "ranges": [{"start": start, "end": end} for start, end in self.ranges],
            "boxes": [{"keyframes": [asdict(keyframe) for keyframe in self.keyframes]}],
        }


def motion_region(
    magnitude: NDArray[np.float32], motion: MotionSummary, video: DecodedVideo, floor: float
) -> MotionRegion | None:
    """When and where a clip moves, in one track: several moving things share one box.

    A range lasts until the first sampled frame that no longer moves, or the end of the clip. A frame's time is its
    number divided by the average frame rate, as in tools that count frames.

    Args:
        magnitude: float32 [F, H, W] of `motion_magnitude`, pixels.
        motion: its summary by `summarise`.
        video: the frames on which it was measured.
        floor: the settings' own, pixels a sampled frame.

    Returns:
        None where nothing moves.
    """
    if not motion.moves:
        return None
    samples = _one_of_each(video.source_index, motion.per_frame)
    times = np.array([*(video.source_index[sample] / video.info.fps for sample in samples), video.info.seconds])
    boxes = _without_outliers(_boxes(magnitude, samples, max(floor, MOVING_SHARE * motion.peak)))
    moving = np.isfinite(boxes[:, 0])
    runs = _runs(moving, times)
    if len(runs) > MAX_RANGES:
        amounts = [sum(motion.per_frame[sample] for sample in samples[first:end]) for first, end in runs]
        runs = [runs[place] for place in sorted(np.argsort(amounts)[-MAX_RANGES:])]
    boxes = _as_displayed(boxes, video.info, *magnitude.shape[1:])
    tracks = []
    for first, end in runs:
        places = first + np.flatnonzero(moving[first:end])
        # It stays where it was seen last until the run is over.
        tracks.append((times[[*places, end]], boxes[[*places, places[-1]]]))
    return MotionRegion(tuple((float(times[first]), float(times[end])) for first, end in runs), _keyframes(tracks))


def _one_of_each(source_index: Sequence[int], amounts: Sequence[float]) -> list[int]:
    """One sample of each frame: of those that repeat it, the one that moves most. The others show no motion."""
    chosen: dict[int, int] = {}
    for sample, source in enumerate(source_index):
        if source not in chosen or amounts[sample] > amounts[chosen[source]]:
            chosen[source] = sample
    return list(chosen.values())


def _boxes(magnitude: NDArray[np.float32], samples: Sequence[int], level: float) -> NDArray[np.float64]:
    """The box of each sample: left, top, right, bottom in [0, 1] of the sampled picture, nan where it does not move.

    The displacement to the next frame is seen where a thing is and where it will be. The displacement from the frame
    before is seen where it was and where it is. So the thing is where both are seen, as in three-frame differencing. If
    too few pixels are common, the displacement to the next frame decides.
    """
    boxes = np.full((len(samples), 4), np.nan)
    enough = TOP_SHARE * magnitude[0].size
    before = np.zeros(magnitude.shape[1:], dtype=np.bool_)
    for box, sample in zip(boxes, samples, strict=True):
        here = magnitude[sample] >= level
        if np.count_nonzero(here) >= enough:
            common = here & before
            box[:] = _box(magnitude[sample], common if np.count_nonzero(common) >= enough else here)
        before = here
    return boxes


def _box(magnitude: NDArray[np.float32], moves: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The box around the heavy parts of what moves in a frame [H, W], at least a pixel of which does."""
    rows, columns = moves.shape
    count, parts, extents, _ = cv2.connectedComponentsWithStats(moves.view(np.uint8), connectivity=8)
    weights = np.bincount(parts[moves], weights=magnitude[moves], minlength=count)
    left, top, width, height = extents[weights >= HEAVY_SHARE * weights.max(), :4].T
    horizontally = _edges(int(left.min()), int((left + width).max()), columns)
    vertically = _edges(int(top.min()), int((top + height).max()), rows)
    return horizontally[0], vertically[0], horizontally[1], vertically[1]


def _edges(first: int, end: int, size: int) -> tuple[float, float]:
    """The extent, in [0, 1], of a thing that is seen to move in pixels [first, end) of `size`.

    Motion is seen a little beyond the thing, except at the picture's edges.
    """
    margin = min(_WIDENED, (end - first - 1) // 2)
    return (
        0.0 if first <= _WIDENED else (first + margin) / size,
        1.0 if end >= size - _WIDENED else (end - margin) / size,
    )


def _without_outliers(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each box [n, 4] and its neighbours in time, which keeps steady motion as it is."""
    smooth = boxes.copy()
    smooth[1:-1] = np.median([boxes[:-2], boxes[1:-1], boxes[2:]], axis=0)
    return np.where(np.isfinite(smooth), smooth, boxes)  # first and last of a run have a single neighbour


def _runs(moving: NDArray[np.bool_], times: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Runs [first, end) of moving samples, in order; `times` [n + 1] are the samples' times and the clip's end."""
    edges = np.flatnonzero(np.diff(np.pad(moving, 1).astype(np.int8)))
    runs: list[tuple[int, int]] = []
    for first, end in edges.reshape(-1, 2).tolist():
        if runs and times[first] - times[runs[-1][1]] <= PAUSE:
            runs[-1] = runs[-1][0], end
        else:
            runs.append((first, end))
    return runs


def _as_displayed(boxes: NDArray[np.float64], info: VideoInfo, rows: int, columns: int) -> NDArray[np.float64]:
    """Boxes [n, 4] of sampled pictures, as fractions of the whole picture.

    Samples show the middle of a frame, cut to their shape. A box that spans a sample from edge to edge is taken to span
    the whole frame that way.
    """
    shape, whole = columns / rows, info.width / info.height
    seen = np.minimum(1.0, [shape / whole, whole / shape] * 2)
    displayed = (1 - seen) / 2 + boxes * seen
    fills = np.tile((boxes[:, :2] == 0) & (boxes[:, 2:] == 1), 2)
    return np.where(fills, boxes, displayed).round(DECIMALS)


def _keyframes(tracks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> tuple[BoxKeyframe, ...]:
    """The fewest keyframes that describe the tracks, each (times [n], boxes [n, 4]); at most `MAX_KEYFRAMES`."""
    deviation = MAX_DEVIATION
    while True:
        kept = [_corners(times, boxes, deviation) for times, boxes in tracks]
        if sum(map(len, kept)) <= MAX_KEYFRAMES:
            break
        deviation *= 1.5
    return tuple(
        _keyframe(times[place], boxes[place], visible=place != places[-1])
        for places, (times, boxes) in zip(kept, tracks, strict=True)
        for place in places
    )


def _corners(times: NDArray[np.float64], boxes: NDArray[np.float64], deviation: float) -> list[int]:
    """Which boxes [n, 4] to keep so that none is off by more than `deviation` (Ramer, Douglas and Peucker)."""
    kept = [0, len(times) - 1]
    pending = [(0, len(times) - 1)]
    while pending:
        first, last = pending.pop()
        share = ((times[first : last + 1] - times[first]) / (times[last] - times[first]))[:, None]
        off = np.abs(boxes[first : last + 1] - (1 - share) * boxes[first] - share * boxes[last]).max(axis=1)
        worst = first + int(off.argmax())
        if off.max() > deviation:
            kept.append(worst)
            pending += pairwise([first, worst, last])
    return sorted(kept)


def _keyframe(time: float, box: NDArray[np.float64], *, visible: bool) -> BoxKeyframe:
    left, top, right, bottom = box.tolist()
    return BoxKeyframe(float(time), left, top, round(right - left, DECIMALS), round(bottom - top, DECIMALS), visible)
