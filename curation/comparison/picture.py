"""The picture of a comparison: frames of both models below each other for each prompt, beside the object's height."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from motiontrace.attribution.opencv import cv2
from motiontrace.curation.comparison.flight import paths_under_gravity
from motiontrace.curation.comparison.measures import MEASURES
from motiontrace.curation.comparison.verdicts import interval, remarks
from motiontrace.curation.comparison.videos import read_exact

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from motiontrace.curation.comparison.outcome import ComparedVideo, Comparison

PICTURE = "comparison.png"
PROMPTS_SHOWN = 8
STRIP_FRAMES = 8
_FRAME_PIXELS = 96  # height of a frame in a strip
_WIDTH, _EDGE, _LABEL, _STRIP, _GAP, _PLOT = 10.0, 0.25, 0.55, 6.1, 0.5, 2.4  # inches
_TITLE, _BETWEEN, _BELOW, _LINE = 0.27, 0.05, 0.42, 0.2  # inches, down the page
_COLOURS = {"base": "#b4552d", "tuned": "#0b7a75"}
_SOFT, _FRAME = "#5c6b7a", "#dfe3e8"
_TOLD = ("dynamic_degree", "smoothness", "residual", "gravity_error")


def write_picture(comparison: Comparison) -> Path:
    """Draws the first seed of the first `PROMPTS_SHOWN` prompts into the comparison's folder."""
    shown = min(PROMPTS_SHOWN, len(comparison.prompts))
    strip_height = _STRIP / STRIP_FRAMES * comparison.settings.height / comparison.settings.width
    head = remarks(comparison) + [_total(comparison, name) for name in _TOLD]
    top = _EDGE + 0.5 + _LINE * len(head) + 0.15
    each = _TITLE + 2 * strip_height + _BETWEEN + _BELOW
    with mpl.rc_context({"font.size": 8, "font.family": "sans-serif", "text.parse_math": False}):
        sheet = _Sheet(top + each * shown)
        _write_head(sheet, comparison, head, shown)
        for index in range(shown):
            _draw_prompt(sheet, comparison, index, top + each * index, strip_height)
        file = comparison.folder / PICTURE
        draft = file.with_name(f".{PICTURE}.part")
        sheet.figure.savefig(draft, format="png")
    draft.replace(file)
    return file


class _Sheet:
    """A figure on which places are inches from the top left corner."""

    def __init__(self, height: float) -> None:
        self._height = height
        self.figure = Figure(figsize=(_WIDTH, height), dpi=130, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self._height - top - height
        return self.figure.add_axes((left / _WIDTH, bottom / self._height, width / _WIDTH, height / self._height))

    def text(self, left: float, top: float, words: str, **how: Any) -> None:
        self.figure.text(left / _WIDTH, 1 - top / self._height, words, va="top", **how)


def _total(comparison: Comparison, name: str) -> str:
    """A measure of all pairs in a line."""
    total = comparison.totals[name]
    title = next(measure.title for measure in MEASURES if measure.name == name)
    if total.difference is None:
        return f"{title}: no pair of videos has it"
    spread = "no interval" if total.low is None else f"[{interval(total)}]"
    shown = f"{total.base:.3f} to {total.tuned:.3f}, {total.difference:+.3f}, {spread}"
    return f"{title}: {shown}, {total.pairs} pairs of {total.prompts} prompts"


def _write_head(sheet: _Sheet, comparison: Comparison, lines: list[str], shown: int) -> None:
    sheet.text(_EDGE, _EDGE, "Base against tuned", size=13, weight="bold")
    count = len(comparison.prompts)
    which = f"{shown} of {count} prompts" if shown < count else f"{count} prompt{'s' * (count > 1)}"
    seeds = f"seed {comparison.seeds[0]}" + (f" of {len(comparison.seeds)}" if len(comparison.seeds) > 1 else "")
    sheet.text(
        _EDGE, _EDGE + 0.26, f"shown: {which}, {seeds}; mean over all pairs, difference [95 % interval]:", color=_SOFT
    )
    for number, line in enumerate(lines):
        sheet.text(_EDGE, _EDGE + 0.48 + _LINE * number, line)


def _draw_prompt(sheet: _Sheet, comparison: Comparison, index: int, top: float, strip_height: float) -> None:
    prompt = comparison.prompts[index]
    words = prompt.text if len(prompt.text) < 110 else f"{prompt.text[:107]}..."
    sheet.text(_EDGE, top, words, weight="bold")
    pair = {label: rows[index][0] for label, rows in comparison.videos.items()}
    for place, (label, video) in enumerate(pair.items()):
        down = top + _TITLE + place * (strip_height + _BETWEEN)
        sheet.text(_EDGE, down + strip_height / 2 - 0.06, label, color=_COLOURS[label], weight="bold")
        if video.measures.track.failed:
            sheet.text(_EDGE, down + strip_height / 2 + 0.08, "tracking\nfailed", color=_SOFT, size=6.5)
        axes = sheet.axes(_EDGE + _LABEL, down, _STRIP, strip_height)
        axes.imshow(_strip(comparison, video), aspect="auto", interpolation="nearest")
        axes.set_axis_off()
    plot = sheet.axes(_EDGE + _LABEL + _STRIP + _GAP, top + _TITLE, _PLOT, 2 * strip_height + _BETWEEN)
    _draw_heights(plot, comparison, pair)


def _strip(comparison: Comparison, video: ComparedVideo) -> NDArray[np.uint8]:
    """Frames spread over the whole video beside each other, with a thin line between."""
    frames = read_exact(comparison.folder / video.exact)
    if frames is None:
        raise OSError(f"{comparison.folder / video.exact} has gone while the comparison ran; start it again")
    width = round(_FRAME_PIXELS * frames.shape[2] / frames.shape[1])
    pieces = []
    for frame in frames[np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)]:
        smaller = frame.shape[0] > _FRAME_PIXELS
        how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        piece = cv2.resize(frame, (width, _FRAME_PIXELS), interpolation=how)
        piece[:, -1] = 255
        pieces.append(piece)
    return np.concatenate(pieces, axis=1)


def _draw_heights(axes: Axes, comparison: Comparison, pair: dict[str, ComparedVideo]) -> None:
    fps = comparison.settings.fps
    axes.set_ylim(1, 0)
    axes.set_yticks([0, 1], ["top", "bottom"])
    axes.tick_params(length=0, colors=_SOFT, labelsize=7)
    for side in axes.spines.values():
        side.set_color(_FRAME)
    told = []
    for label, video in pair.items():
        measures = video.measures
        times = np.arange(len(measures.track.y)) / fps
        axes.plot(times, measures.track.y, color=_COLOURS[label], marker="o", markersize=2.2, linewidth=1.2)
        if measures.flight is None:
            continue
        told.append(f"{label} {measures.flight.acceleration:.2f}")
        if measures.gravity is not None:
            path = paths_under_gravity(measures.flight, measures.track, fps, measures.gravity)
            axes.plot(times, path, color=_COLOURS[label], linestyle=(0, (4, 3)), linewidth=1.1, alpha=0.85)
    gravity = next(iter(pair.values())).measures.gravity
    if told:
        should = "" if gravity is None else f" (dashed: {gravity:g})"
        axes.set_title(f"falls by {', '.join(told)}{should}", fontsize=7.5, color=_SOFT, pad=3)
    axes.set_xlabel("seconds", fontsize=7, color=_SOFT, labelpad=1)
