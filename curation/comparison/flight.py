"""How a tracked object falls: one acceleration for all its free flights, and how well it obeys it.

Between contacts with the floor a thing that flies freely follows a parabola, y = y0 + v t + a t^2 / 2, with its own
y0 and v in each flight and the same a in all. The fit is robust: frames in which the tracking went wrong lose their
weight (Huber's), and so do those in which it is unsure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.comparison.tracking import SURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from motiontrace.curation.comparison.tracking import Track

CONTACT = 0.02  # frame heights from the lowest point of the path: there the object stands on something
LEAST_FALL = 0.06  # frame heights: what rises and falls by less does not fly
BOUNCES_TRIED = 6  # places between two frames where it may have bounced: the likeliest, in all combinations
HUBER = 1.345  # standard deviations
NOISE = 0.002  # frame heights: no fit is expected to be better


@dataclass(frozen=True)
class FreeFlight:
    """The free flights of one video.

    Attributes:
        acceleration: downwards, frame heights / s^2.
        residual: root mean square distance of the height from the parabolas, frame heights: 0 obeys one constant
            acceleration exactly, whatever it is.
        restitution: how much of its speed a bounce leaves it, the median over the bounces: over 1 it gains height from
            nowhere. None without two flights, one after the other, that fall.
        pieces: each flight's frames, as indices.
        fitted: height on the parabolas, float64 [F], frame heights from the top; NaN where it does not fly.
    """

    acceleration: float
    residual: float
    restitution: float | None
    pieces: tuple[tuple[int, ...], ...]
    fitted: NDArray[np.float64]

    def gravity_error(self, gravity: float) -> float:
        """|a - g| / g for the true gravity g > 0 in frame heights / s^2: 0 falls as it should, 1 at an even speed."""
        return abs(self.acceleration - gravity) / gravity


def fit_free_flight(track: Track, fps: float) -> FreeFlight | None:
    """Finds the free flights of a track and fits one acceleration to them.

    The lowest height that the object reaches is taken for the floor. An object that hangs in the air, or sinks evenly,
    counts as flying: so its acceleration shows that it falls wrongly.

    Args:
        track: of `track_object`.
        fps: frames a second, > 0.

    Returns:
        None where the object neither rises nor falls, or there are too few frames of it to tell an acceleration and
        its residual (four in one flight, or three in each of two).
    """
    usable = track.confidence >= SURE
    heights = track.y
    if usable.sum() < 4 or np.ptp(heights[usable]) < LEAST_FALL:
        return None
    times = np.arange(len(heights)) / fps
    fits = [
        _fit(times, heights, track.confidence, pieces)
        for pieces in _divisions(heights, usable)
        if sum(max(0, len(piece) - 2) for piece in pieces) >= 2  # one determines a, another the residual
    ]
    if not fits:
        return None
    fit = min(fits, key=lambda each: each.cost)
    floor = float(np.max(heights[usable]))
    fitted = np.full(len(heights), np.nan)
    frames = [index for piece in fit.pieces for index in piece]
    fitted[frames] = fit.fitted
    residual = float(np.sqrt(np.mean((heights[frames] - fit.fitted) ** 2)))
    return FreeFlight(fit.acceleration, residual, _restitution(fit, floor), fit.pieces, fitted)


def paths_under_gravity(flight: FreeFlight, track: Track, fps: float, gravity: float) -> NDArray[np.float64]:
    """How each flight would have gone under `gravity`, begun where and as fast as fits it best.

    float64 [F], frame heights from the top; NaN where it does not fly.
    """
    paths = np.full(len(track.y), np.nan)
    for piece in flight.pieces:
        frames = list(piece)
        times = (np.array(frames) - frames[0]) / fps
        fallen = gravity * times**2 / 2
        speed, start = np.polyfit(times, track.y[frames] - fallen, 1)
        paths[frames] = start + speed * times + fallen
    return paths


def _divisions(heights: NDArray[np.float64], usable: NDArray[np.bool_]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Ways to divide the frames in which the object is in the air into flights, which end where it may have bounced."""
    floor = float(np.max(heights[usable]))
    landed = usable & (heights >= floor - CONTACT)
    runs: list[list[int]] = []
    for index in np.nonzero(usable & ~landed)[0].tolist():
        if runs and not landed[runs[-1][-1] : index].any():
            runs[-1].append(index)
        else:
            runs.append([index])
    bounces = {frame: kick for run in runs for frame, kick in _bounces(run, heights, floor)}
    tried = sorted(bounces, key=lambda frame: bounces[frame], reverse=True)[:BOUNCES_TRIED]
    for chosen in product((False, True), repeat=len(tried)):
        begins = {frame for frame, taken in zip(tried, chosen, strict=True) if taken}
        pieces: list[list[int]] = []
        for run in runs:
            for index in run:
                if index == run[0] or index in begins:
                    pieces.append([])
                pieces[-1].append(index)
        yield tuple(map(tuple, pieces))


def _bounces(run: list[int], heights: NDArray[np.float64], floor: float) -> Iterator[tuple[int, float]]:
    """Frames of a run that a bounce may lie just before, and by how much the step from frame to frame turns upwards.

    Falling, steps only grow downwards; and at that speed it has to be able to reach the floor in between.
    """
    steps = np.diff(heights, prepend=np.nan, append=np.nan)  # steps[i] leads to frame i
    for frame in run[1:]:
        before, here, after = steps[frame - 1 : frame + 2]
        before, after = (here if np.isnan(step) else step for step in (before, after))
        kick = before - after
        reach = max(abs(before), abs(here), abs(after))
        if kick > 0 and heights[frame - 1 : frame + 1].max() + reach >= floor:
            yield frame, float(kick)


@dataclass(frozen=True)
class _Fit:
    pieces: tuple[tuple[int, ...], ...]
    acceleration: float
    tops: tuple[float, ...]  # where the parabolas turn, if they do
    fitted: NDArray[np.float64]  # of the pieces' frames, one after another
    cost: float  # Bayesian information criterion of this division: less is better


def _fit(
    times: NDArray[np.float64],
    heights: NDArray[np.float64],
    confidence: NDArray[np.float64],
    pieces: tuple[tuple[int, ...], ...],
) -> _Fit:
    """Fits the pieces of three frames or more; in shorter ones any acceleration is as good."""
    free = sum(len(piece) for piece in pieces if len(piece) < 3)
    pieces = tuple(piece for piece in pieces if len(piece) >= 3)
    frames = [index for piece in pieces for index in piece]
    design = np.zeros((len(frames), 1 + 2 * len(pieces)))
    row = 0
    for number, piece in enumerate(pieces):
        since = times[list(piece)] - times[piece[0]]
        rows = slice(row, row + len(piece))
        design[rows, 0] = since**2 / 2
        design[rows, 1 + 2 * number] = 1
        design[rows, 2 + 2 * number] = since
        row += len(piece)
    y, trust = heights[frames], np.sqrt(confidence[frames])
    weights = np.ones(len(frames))
    for _ in range(20):
        root = trust * np.sqrt(weights)
        solution = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        off = np.abs(y - design @ solution)
        scale = max(NOISE, 1.4826 * float(np.median(off)))
        weights = np.minimum(1.0, HUBER * scale / np.maximum(off, 1e-12))
    count = len(frames) + free
    variance = NOISE**2 + float((trust**2 * off**2).sum()) / count
    cost = count * np.log(variance) + (1 + 2 * len(pieces) + free) * np.log(count)
    acceleration, starts, speeds = float(solution[0]), solution[1::2], solution[2::2]
    tops = tuple((starts - speeds**2 / (2 * acceleration)).tolist()) if acceleration > 0 else ()
    return _Fit(pieces, acceleration, tops, design @ solution, cost)


def _restitution(fit: _Fit, floor: float) -> float | None:
    """From the heights over the floor that neighbouring flights reach: their square roots are as the speeds there."""
    over = [max(0.0, floor - top) for top in fit.tops]
    ratios = [np.sqrt(after / before) for before, after in pairwise(over) if before > 0]
    return float(np.median(ratios)) if ratios else None
