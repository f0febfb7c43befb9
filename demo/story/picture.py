"""The story's pictures: preferences, videos before and after, and how high things are over time in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.figure import Figure

from motiontrace.curation.comparison.videos import read_exact
from motiontrace.demo.sheet import SIDE, STRIP_FRAMES, write_sheet
from motiontrace.demo.story.outcomes import FPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.demo.story.preference import Preference

    Heights = NDArray[np.float64]

_TITLES = {"free_fall": "falls", "bounce": "bounces"}
_COLOURS = {"free_fall": "#b4552d", "bounce": "#0b7a75"}


def draw_heights(path: Path, columns: Mapping[str, Mapping[str, Heights]]) -> None:
    """Draws every video's object, its height over time, as a PNG.

    Args:
        path: of the PNG.
        columns: by title; in each by motion heights [videos, F], frame heights from the top, NaN where unknown.
    """
    motions = list(next(iter(columns.values())))
    figure = Figure(figsize=(1.8 * len(columns) + 0.6, 1.9 * len(motions) + 0.5), dpi=110, layout="constrained")
    axes = figure.subplots(len(motions), len(columns), sharex=True, sharey=True, squeeze=False)
    for row, motion in enumerate(motions):
        for column, (title, heights) in enumerate(columns.items()):
            plot = axes[row, column]
            drawn = heights[motion]
            plot.plot(np.arange(drawn.shape[1]) / FPS, drawn.T, color=_COLOURS[motion], linewidth=1, alpha=0.45)
            plot.set_ylim(1, 0)
            plot.set_yticks([0, 1], ["top", "bottom"])
            plot.tick_params(labelsize=8)
            if row == 0:
                plot.set_title(title, fontsize=9)
            if row == len(motions) - 1:
                plot.set_xlabel("seconds", fontsize=8)
        axes[row, 0].set_ylabel(_TITLES[motion], fontsize=9)
    figure.savefig(path, format="png")


def draw_preferences(path: Path, arms: Mapping[str, Mapping[str, Preference]]) -> None:
    """Draws how much each arm prefers real physics, by motion, with its interval, as a PNG."""
    motions = list(next(iter(arms.values())))
    figure = Figure(figsize=(4.2 * len(motions), 0.34 * len(arms) + 1), dpi=110, layout="constrained")
    for plot, motion in zip(figure.subplots(1, len(motions), sharey=True, squeeze=False)[0], motions, strict=True):
        for row, by_motion in enumerate(arms.values()):
            found = by_motion[motion].for_real
            plot.plot([100 * found.low, 100 * found.high], [row, row], color=_COLOURS[motion], linewidth=2)
            plot.plot([100 * found.value], [row], "o", color=_COLOURS[motion])
        plot.axvline(0, color="#888888", linewidth=0.8)
        plot.set_yticks(range(len(arms)), list(arms), fontsize=9)
        plot.set_ylim(len(arms) - 0.5, -0.5)
        plot.set_title(f"{_TITLES[motion]}: preference for real physics", fontsize=9)
        plot.set_xlabel("by how many % more the loss of real clips fell", fontsize=8)
        plot.tick_params(axis="x", labelsize=8)
    figure.savefig(path, format="png")


def draw_strips(path: Path, strips: Sequence[tuple[str, Path]]) -> None:
    """Draws generated videos (title, file of `compare`) as film strips below each other, as a PNG."""
    write_sheet(path, [(title, _strip(file)) for title, file in strips])


def _strip(file: Path) -> NDArray[np.uint8]:
    frames = read_exact(file)
    if frames is None:
        raise OSError(f"{file} has gone: run the story again")
    chosen = frames[np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)]
    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for frame in chosen])
