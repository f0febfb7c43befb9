"""An evaluation as one picture: every method's score with its interval, under the ceiling and beside chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from motiontrace.curation.evaluation.methods import OURS, VARIANTS

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.curation.evaluation.evaluate import Evaluation

_OURS, _VARIANT, _CONTROL, _CEILING, _CHANCE = "#0b7a75", "#7fb8b5", "#c8553d", "#55555599", "#99999933"


def draw(evaluation: Evaluation, file: Path) -> None:
    """Writes a PNG file: a panel for each kind of subsets, methods in the order of the first one."""
    kinds = list(evaluation.scores)
    first = evaluation.scores[kinds[0]]
    names = sorted(first, key=lambda name: first[name].score.value)
    variants = {method.name for method in VARIANTS}
    figure = Figure(figsize=(4 + 3.2 * len(kinds), 0.32 * len(names) + 1.4), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        for place, name in enumerate(names):
            score = evaluation.scores[kind][name].score
            colour = _OURS if name == OURS.name else _VARIANT if name in variants else _CONTROL
            panel.plot([score.low, score.high], [place, place], color=colour, linewidth=2.5, alpha=0.55)
            panel.plot(score.value, place, "o", color=colour, markersize=6)
        panel.axvspan(-evaluation.chances[kind], evaluation.chances[kind], color=_CHANCE, linewidth=0)
        panel.axvline(0, color="#999999", linewidth=0.8)
        panel.axvline(evaluation.ceilings[kind], color=_CEILING, linewidth=1.2, linestyle="--")
        panel.set_title(f"{kind}\nceiling {evaluation.ceilings[kind]:.2f} (dashed), chance (grey)", fontsize=10)
        panel.set_xlabel("LDS: rank correlation with training", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", linewidth=0.4, alpha=0.6)
    panels[0].set_yticks(range(len(names)), names, fontsize=9)
    for label in panels[0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == OURS.name else "normal")
    figure.savefig(file)
