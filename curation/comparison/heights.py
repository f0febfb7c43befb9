"""The height of the object over time as a small drawing (SVG), beside where gravity would have taken it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from motiontrace.curation.comparison.flight import paths_under_gravity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from motiontrace.curation.comparison.measures import VideoMeasures

WIDTH, HEIGHT = 460, 140
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 452, 8, 116


def height_plot(videos: Mapping[str, VideoMeasures], fps: float) -> str:
    """Draws the tracked heights of several videos; empty where nothing was found in any."""
    if not any(video.track.found for video in videos.values()):
        return ""
    frames = max(len(video.track.y) for video in videos.values())
    seconds = max(frames - 1, 1) / fps
    parts: list[str] = []
    for label, video in videos.items():
        if video.flight is not None and video.gravity is not None:
            path = paths_under_gravity(video.flight, video.track, fps, video.gravity)
            parts += _lines(path, f"line-{label} gravity", frames)
        parts += _lines(video.track.y, f"line-{label}", frames)
        parts += [
            f'<circle class="dot-{label}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>'
            for x, y in _points(video.track.y, frames)
        ]
    dashed = any(video.flight and video.gravity is not None for video in videos.values())
    legend = "height of the object" + (", and dashed: its flights under gravity" if dashed else "")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{legend}">'
        f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" height="{_BOTTOM - _TOP}"/>'
        f'<text x="2" y="{_TOP + 9}">top</text><text x="2" y="{_BOTTOM}">bottom</text>'
        f'<text x="{_LEFT}" y="{HEIGHT - 8}">{legend}</text>'
        f'<text x="{_RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{seconds:.1f} s</text>'
        f'<line class="now" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_BOTTOM}" data-left="{_LEFT}"'
        f' data-right="{_RIGHT}"/>{"".join(parts)}</svg>\n'
    )


def _lines(heights: NDArray[np.float64], kind: str, frames: int) -> Iterator[str]:
    """A line for each run of frames that has heights."""
    there = np.concatenate([[False], ~np.isnan(heights), [False]])
    for start, end in zip(*(np.nonzero(np.diff(there.astype(int)) == step)[0] for step in (1, -1)), strict=True):
        points = " ".join(f"{_x(index, frames):.1f},{_y(heights[index]):.1f}" for index in range(start, end))
        yield f'<polyline class="{kind}" points="{points}"/>'


def _points(heights: NDArray[np.float64], frames: int) -> Iterator[tuple[float, float]]:
    for index, height in enumerate(heights.tolist()):
        if not np.isnan(height):
            yield _x(index, frames), _y(height)


def _x(index: int, frames: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * index / max(frames - 1, 1)


def _y(height: float) -> float:
    return _TOP + (_BOTTOM - _TOP) * min(max(height, 0.0), 1.0)
