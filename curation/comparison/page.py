"""The page of a comparison: pairs of videos that play together, their heights over time, and what was measured.

It is one HTML file that needs no network and opens from any folder. It contains the videos, unless they are too many.
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from motiontrace.catalog.durable_files import write_atomically
from motiontrace.curation.comparison.differences import LEAST_PROMPTS
from motiontrace.curation.comparison.heights import height_plot
from motiontrace.curation.comparison.measures import MEASURES
from motiontrace.curation.comparison.verdicts import LEAST_FOLLOWED_PAIRS, counted, interval, remarks, verdict, videos

if TYPE_CHECKING:
    from motiontrace.curation.comparison.measures import Measure
    from motiontrace.curation.comparison.outcome import ComparedVideo, Comparison
    from motiontrace.curation.comparison.prompts import Prompt

PAGE = "comparison.html"
LARGEST_PAGE = 64 * 2**20  # bytes of videos; with more they stay in files beside the page
_ASSETS = Path(__file__).parent / "assets"


def write_page(comparison: Comparison) -> Path:
    """Writes the page into the comparison's folder; returns its file."""
    videos = [video for rows in comparison.videos.values() for row in rows for video in row]
    size = sum((comparison.folder / name).stat().st_size for video in videos for name in (video.shown, video.heat))
    page = _Page(comparison, inside=size <= LARGEST_PAGE)
    file = comparison.folder / PAGE
    write_atomically(file, [page.html().encode()])
    return file


class _Page:
    def __init__(self, comparison: Comparison, *, inside: bool) -> None:
        self._comparison = comparison
        self._inside = inside
        totals = comparison.totals
        # Measures that no video has are left out.
        self._measures = [each for each in MEASURES if totals[each.name].base_videos or totals[each.name].tuned_videos]

    def html(self) -> str:
        settings = self._comparison.settings
        style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
        prompts = "".join(self._prompt(index, prompt) for index, prompt in enumerate(self._comparison.prompts))
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>Base against tuned</title>\n<style>\n{style}</style>\n</head>\n"
            f'<body data-seconds="{settings.frames / settings.fps:.4f}"'
            f' data-last="{max(settings.frames - 1, 1) / settings.fps:.4f}">\n<main>\n{self._head()}{self._totals()}'
            f"{_CONTROLS}{prompts}</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
        )

    def _head(self) -> str:
        base, tuned = self._comparison.models
        settings, count = self._comparison.settings, len(self._comparison.prompts) * len(self._comparison.seeds)
        lora = ", a LoRA on the base" if tuned.adapter else ""
        return (
            f'<h1><span class="base">Base</span> against <span class="tuned">tuned</span></h1>\n'
            f'<p class="soft">base: {escape(base.location)}<br>tuned: {escape(tuned.location)}{lora}</p>\n'
            f'<p class="soft">{counted(count, "pair")} of videos of the same prompt and seed: {settings.frames} frames'
            f" of {settings.width}x{settings.height} at {settings.fps:g} a second, {settings.steps} steps, guidance"
            f" {settings.guidance:g}</p>\n"
        )

    def _totals(self) -> str:
        told = "".join(f'<p class="remark">{escape(each)}</p>\n' for each in remarks(self._comparison))
        rows = "".join(self._total(measure) for measure in self._measures)
        return (
            f'{told}<div class="scroll"><table class="totals">\n<thead><tr><th>mean over all pairs</th>'
            '<th class="base">base</th><th class="tuned">tuned</th><th>difference</th><th>95 % interval</th>'
            f"<th>videos</th><th>pairs</th><th>prompts</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
            '<p class="soft">Videos: how many of base and of tuned have the figure. Interval: bootstrap over prompts,'
            f" {LEAST_PROMPTS} or more. Coloured: the interval is on one side of zero and one direction is the better"
            f" one. By the object's path only where it was followed in {LEAST_FOLLOWED_PAIRS:.0%} of the pairs.</p>\n"
        )

    def _total(self, measure: Measure) -> str:
        total = self._comparison.totals[measure.name]
        colour = {"better": "good", "worse": "bad", None: ""}[verdict(self._comparison, measure)]
        return (
            f"<tr><td>{escape(measure.title)} <span>{escape(measure.meaning)}</span></td><td>{_number(total.base)}</td>"
            f'<td>{_number(total.tuned)}</td><td class="{colour}">{_number(total.difference, "+")}'
            f"</td><td>{interval(total)}</td><td>{videos(total)}</td><td>{total.pairs}</td>"
            f"<td>{total.prompts}</td></tr>\n"
        )

    def _prompt(self, index: int, prompt: Prompt) -> str:
        gravity = "" if prompt.gravity is None else f" <small>gravity {prompt.gravity:g} frame heights/s²</small>"
        cards = "".join(self._card(index, place) for place in range(len(self._comparison.seeds)))
        return f'<section>\n<h2>{escape(prompt.text)}{gravity}</h2>\n<div class="cards">\n{cards}</div>\n</section>\n'

    def _card(self, index: int, place: int) -> str:
        pair = {label: rows[index][place] for label, rows in self._comparison.videos.items()}
        figures = "".join(
            f'<figure><figcaption class="{label}">{label}{_failed(video)}</figcaption>'
            f"{self._video(video.shown, 'plain')}"
            f"{self._video(video.heat, 'heat')}</figure>\n"
            for label, video in pair.items()
        )
        heights = height_plot({label: video.measures for label, video in pair.items()}, self._comparison.settings.fps)
        return (
            f'<article class="card">\n<h3>seed {self._comparison.seeds[place]}</h3>\n'
            f'<div class="pair">\n{figures}</div>\n{heights}{self._card_table(pair)}</article>\n'
        )

    def _card_table(self, pair: dict[str, ComparedVideo]) -> str:
        rows = "".join(
            f"<tr><td>{escape(measure.title)}</td>"
            + "".join(f"<td>{_number(measure.of(video.measures))}</td>" for video in pair.values())
            + "</tr>\n"
            for measure in self._measures
        )
        heads = "".join(f'<th class="{label}">{label}</th>' for label in pair)
        return (
            f"<details><summary>measured</summary><table>\n<thead><tr><th></th>{heads}</tr></thead>\n<tbody>\n{rows}"
            "</tbody>\n</table></details>\n"
        )

    def _video(self, name: str, kind: str) -> str:
        source = name
        if self._inside:
            data = base64.b64encode((self._comparison.folder / name).read_bytes()).decode()
            source = f"data:video/mp4;base64,{data}"
        return f'<video class="{kind}" src="{source}" muted playsinline preload="auto"></video>'


_CONTROLS = """<div class="bar">
<button id="play" type="button">Play</button>
<input id="place" type="range" min="0" max="1" step="0.001" value="0" aria-label="place in the videos">
<label>speed <select id="speed"><option value="0.25">¼</option><option value="0.5">½</option>
<option value="1" selected>1</option></select></label>
<label><input id="heat" type="checkbox"> what moves</label>
</div>
"""


def _failed(video: ComparedVideo) -> str:
    return " <span>tracking failed</span>" if video.measures.track.failed else ""


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
