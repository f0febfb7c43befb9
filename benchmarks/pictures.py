"""The pictures of docs/results/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

FIDELITY = Path(__file__).parents[1] / "docs" / "images" / "fidelity.png"
PAPER = {128: 0.469, 512: 0.747, 1024: 0.757, 2048: 0.761}
"""Spearman of Motive's Fastfood, on its own models and clips."""
_COLOURS = {"learned": "#0b7a75", "random": "#c8553d"}
_MARKS = ("o", "s")


def draw_fidelity(rows: list[dict[str, Any]], dims: Sequence[int], factors: int, file: Path) -> None:
    """Spearman against dims: learned and random directions of each model, and the paper's."""
    shown = {"learned": f"factorised {factors}", "random": "count-sketch"}
    labels = {"learned": "motiontrace: sketch, learned directions", "random": "random projection"}
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.2, 4.2), dpi=160, layout="constrained")
        axes = figure.subplots()
        for mark, model in zip(_MARKS, dict.fromkeys(row["model"] for row in rows), strict=False):
            for kind, what in shown.items():
                (row,) = (
                    row for row in rows if (row["model"], row["directions"], row["gradients"]) == (model, kind, what)
                )
                axes.plot(
                    dims,
                    [row[str(dim)] for dim in dims],
                    marker=mark,
                    color=_COLOURS[kind],
                    label=f"{labels[kind]} ({model})",
                )
        axes.plot(
            list(PAPER),
            list(PAPER.values()),
            marker="^",
            color="#555555",
            linestyle="--",
            label="Motive's paper (its own models and clips)",
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.set_ylim(0.4, 1.0)
        axes.set_xlabel("numbers kept of a clip")
        axes.set_ylabel("Spearman with the exact ranking")
        axes.grid(axis="y", color="#dddddd")
        axes.legend(loc="lower right", frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file)
