"""From a queued query to its answer: the motion gradient, then both ends of the ranking."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.engine import ClipGradient
from catalog.records import IndexRecord, QueryOutcome, QueryRecord
from catalog.vectors import Hit
from service.engines import Engines
from service.queries.schemas import Place, Ranking
from service.searchers import Searchers


@dataclass(frozen=True)
class Answer:
    """All that is stored of a query that is done."""

    outcome: QueryOutcome
    gradient: NDArray[np.float32] | None  # [dim], unit length; None where nothing moves
    ranking: Ranking
    timings: dict[str, float]  # seconds by stage
    info: dict[str, Any]  # "video" and "motion", as Video and Motion of the schemas have them


def answer(
    query: QueryRecord,
    index: IndexRecord,
    engines: Engines,
    searchers: Searchers,
    begin: Callable[[str], None],
) -> Answer:
    """Compute a query's answer; `begin` hears of each stage: loading, decoding, motion, gradient, scoring.

    Raises:
        VideoError, ModelError, BasisError, RecipeMismatchError, GradientError, CatalogError: why there is no answer.
    """
    timings: dict[str, float] = {}
    if query.started_at is not None:
        timings["waiting"] = (query.started_at - query.created_at).total_seconds()
    if engines.trouble(index) is not None:
        begin("loading")
        started = time.perf_counter()
        engines.of(index)
        timings["loading"] = time.perf_counter() - started
    engine = engines.of(index)
    computed = engine.compute(Path(query.video_path), query.prompt, on_stage=begin)
    timings |= computed.seconds
    floor = engine.recipe.motion.floor
    info = {"video": asdict(computed.info), "motion": {**asdict(computed.motion), "floor": floor}}
    if computed.vector is None:
        return Answer("no_motion", None, _no_motion(computed, floor), timings, info)
    begin("scoring")
    started = time.perf_counter()
    found = searchers.of(index).search(computed.vector, query.k)
    timings["scoring"] = time.perf_counter() - started
    ranking = Ranking(
        message=None if found.total else "The index holds no clip that moves, so there is nothing to rank.",
        ranked=found.total,
        top=[_place(hit) for hit in found.top],
        bottom=[_place(hit) for hit in found.bottom],
    )
    return Answer("ranked", computed.vector, ranking, timings, info)


def _place(hit: Hit) -> Place:
    score = min(1.0, max(-1.0, hit.score))  # a cosine, but for half floats' rounding
    return Place(id=hit.id, score=score, rank=hit.rank, percentile=hit.percentile)


def _no_motion(computed: ClipGradient, floor: float) -> Ranking:
    if computed.info.frames == 1:
        why = "This video has a single frame, and a motion needs two"
    else:
        why = (
            f"Nothing moves in this video: its motion peaks at {computed.motion.peak:.2g} pixels a frame, "
            f"and less than {floor:g} is taken for noise"
        )
    message = (
        f"{why}. There is no motion that a clip could have taught, so nothing was ranked. "
        "Send a video in which something moves."
    )
    return Ranking(message=message, ranked=0, top=[], bottom=[])
