"""An evaluation as a JSON document, and the counterfactual's rows as people read them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.curation.evaluation.counterfactual import BASE, LEFT_OUT, Result, wins, worst_left_out
from motiontrace.curation.evaluation.methods import NO_MASK, OURS, PAPER, UNTRAINED, VARIANTS
from motiontrace.curation.evaluation.statistics import means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motiontrace.curation.evaluation.evaluate import Evaluation
    from motiontrace.curation.evaluation.settings import EvaluationSettings

FORMAT = 1  # of evaluation.json


@dataclass(frozen=True)
class Row:
    """A way of selecting, over all motions."""

    method: str
    fall: float
    """Mean over motions of the fall of the held-out motion loss."""
    spread: float | None
    """Standard deviation between draws of a random selection, of that mean; None for others."""
    won: int | None
    """Motions on which the default recipe does better: its best tenth, or for selections that leave some clips out
    what it leaves when its worst tenth is gone. None in its own rows and the base's."""
    motions: int
    samples: dict[str, float]
    """Measures of generated videos, means over motions."""
    samples_spread: dict[str, float]
    """Of a random selection: standard deviations between its draws, of those means."""


def rows(results: Sequence[Result]) -> list[Row]:
    """A row for each method, in the order of the results."""
    found = []
    for method in dict.fromkeys(result.selection.method for result in results):
        of = [result for result in results if result.selection.method == method]
        draws = sorted({result.selection.draw for result in of})
        falls = [np.mean([result.fall for result in of if result.selection.draw == draw]) for draw in draws]
        ours = worst_left_out(OURS.name) if method.startswith(LEFT_OUT) else OURS.name
        won, motions = wins(results, ours, method)
        by_draw = [means(r.samples for r in of if r.selection.draw == draw) for draw in draws]
        samples = means(result.samples for result in of)
        drawn = {name: [found[name] for found in by_draw if name in found] for name in samples}
        found.append(
            Row(
                method=method,
                fall=float(np.mean(falls)),
                spread=float(np.std(falls, ddof=1)) if len(falls) > 1 else None,
                won=None if method in (ours, BASE) else won,
                motions=motions,
                samples=samples,
                samples_spread={
                    name: float(np.std(values, ddof=1)) for name, values in drawn.items() if len(values) > 1
                },
            )
        )
    return found


def document(evaluation: Evaluation, settings: EvaluationSettings) -> dict[str, Any]:
    """All figures, as JSON can hold them."""
    return {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json"),
        "recipe": OURS.settings,
        "reasons": {method.name: method.reason for method in (OURS, PAPER, NO_MASK, UNTRAINED, *VARIANTS)},
        "clips": evaluation.clips,
        "held_out": evaluation.queries,
        "problems": list(evaluation.problems),
        "datamodelling": {
            kind: {
                "ceiling": evaluation.ceilings[kind],
                "chance": evaluation.chances[kind],
                "methods": {
                    name: {"score": asdict(found.score), "lead": None if found.lead is None else asdict(found.lead)}
                    for name, found in scores.items()
                },
            }
            for kind, scores in evaluation.scores.items()
        },
        "retrieval": {
            name: {field: asdict(match) for field, match in fields.items()}
            for name, fields in evaluation.retrieval.items()
        },
        "counterfactual": {
            "rows": [asdict(row) for row in rows(evaluation.results)],
            "real": evaluation.real,
            "agreement": None if evaluation.agreement is None else asdict(evaluation.agreement),
            "selections": [
                {
                    "method": result.selection.method,
                    "motion": result.selection.motion,
                    "draw": result.selection.draw,
                    "clips": len(result.selection.clips),
                    "fall": result.fall,
                    "samples": dict(result.samples),
                }
                for result in evaluation.results
            ],
        },
    }
