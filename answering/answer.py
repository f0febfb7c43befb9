"""From a question to its answer: the motion gradient, then both ends of the ranking."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiontrace.answering.errors import QuestionError
from motiontrace.answering.ranking import rank, toward
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.repositories import EntryRepository, QueryRepository
from motiontrace.catalog.repositories.queries import unpack_gradient
from motiontrace.documents.queries import Ranking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.answering.engines import Engines
    from motiontrace.answering.sandbox import Decoder
    from motiontrace.answering.searchers import Searchers
    from motiontrace.attribution.engine import ClipGradient
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord, QueryOutcome, QueryRecord
    from motiontrace.catalog.vectors import Direction


@dataclass(frozen=True)
class Answer:
    """All that is stored of a query that is done."""

    outcome: QueryOutcome
    gradient: NDArray[np.float32] | None  # [dim], unit length; None where nothing moves
    ranking: Ranking
    timings: dict[str, float]  # seconds by stage
    info: dict[str, Any]  # "video" and "motion", as Video and Motion of the schemas have them
    direction: Direction | None = None  # what clips were scored against; None where nothing moves


@dataclass(frozen=True)
class _Gradient:
    """A video's gradient and what was seen on the way to it."""

    vector: NDArray[np.float32] | None
    info: dict[str, Any]
    timings: dict[str, float]


def answer(
    query: QueryRecord,
    index: IndexRecord,
    database: Database,
    engines: Engines,
    searchers: Searchers,
    decoder: Decoder,
    begin: Callable[[str], None],
) -> Answer:
    """Compute the answer of a query about a video.

    The gradient is taken from an earlier query of the same video, prompt and recipe, where there is one.

    Args:
        query: the query; its video is at `video_path`.
        index: the index that it is asked of.
        database: holds earlier queries, and what filters look at.
        engines: compute gradients.
        searchers: open the index's vectors.
        decoder: decodes the video in a confined process.
        begin: is called with each stage as it begins: loading, decoding, motion, gradient, scoring.

    Raises:
        VideoError: the video cannot be used. DecoderError: its decoder did not finish.
        ModelError, RecipeMismatchError: the model cannot be loaded, or is not the one of the index.
        GradientError: the video has no gradient.
        CatalogError: the index cannot be read.
    """
    timings: dict[str, float] = {}
    if query.started_at is not None:
        timings["waiting"] = max(0.0, (query.started_at - query.created_at).total_seconds())
    found = _stored(query, database) or _computed(query, index, engines, decoder, begin)
    timings |= found.timings
    if found.vector is None:
        return Answer("no_motion", None, _no_motion(found.info), timings, found.info)
    begin("scoring")
    started = time.perf_counter()
    searcher = searchers.of(index)
    direction = toward(searcher, found.vector, query.precondition)
    ranking = rank(database, searcher, index, direction, query.k, query.filter)
    timings["scoring"] = time.perf_counter() - started
    return Answer("ranked", found.vector, ranking, timings, found.info, direction)


def answer_clip(
    clip_id: str,
    k: int,
    filter: Mapping[str, Any] | None,
    precondition: Mapping[str, Any] | None,
    index: IndexRecord,
    database: Database,
    searchers: Searchers,
) -> Answer:
    """Rank by the gradient that the index holds of a clip; the clip itself is left out.

    `filter` and `precondition` are as in QueryRecord.

    Raises:
        QuestionError: `clip_not_indexed`: the clip is not in the index, or could not be indexed.
        CatalogError: the index cannot be read.
    """
    started = time.perf_counter()
    searcher = searchers.of(index)
    gradient = searcher.vector(clip_id)
    if gradient is None:
        ranking = _still_clip(clip_id, index, database)
        return Answer("no_motion", None, ranking, {"scoring": time.perf_counter() - started}, {})
    direction = toward(searcher, gradient, precondition)
    ranking = rank(database, searcher, index, direction, k, filter, without=clip_id)
    return Answer("ranked", gradient, ranking, {"scoring": time.perf_counter() - started}, {}, direction)


def _stored(query: QueryRecord, database: Database) -> _Gradient | None:
    assert query.video_sha256 is not None
    assert query.prompt is not None
    with database.reading() as session:
        same = QueryRepository(session).computed(query.video_sha256, query.prompt, query.recipe_digest)
        if same is None:
            return None
        vector = None if same.gradient is None else unpack_gradient(same.gradient)
        return _Gradient(vector, {**(same.info or {}), "gradient_of": same.id}, {})


def _computed(
    query: QueryRecord, index: IndexRecord, engines: Engines, decoder: Decoder, begin: Callable[[str], None]
) -> _Gradient:
    assert query.prompt is not None
    if query.video_path is None:
        raise VideoError("missing_file", "The query's video is no longer kept. Send it again.")
    timings: dict[str, float] = {}
    if engines.trouble(index) is not None:
        begin("loading")
        started = time.perf_counter()
        engines.of(index)
        timings["loading"] = time.perf_counter() - started
    engine = engines.of(index)
    computed = engine.compute(Path(query.video_path), query.prompt, on_stage=begin, decode=decoder.read)
    return _Gradient(computed.vector, _seen(computed, engine.recipe.motion.floor), timings | dict(computed.seconds))


def _seen(computed: ClipGradient, floor: float) -> dict[str, Any]:
    return {"video": asdict(computed.info), "motion": {**asdict(computed.motion), "floor": floor}}


def _no_motion(info: dict[str, Any]) -> Ranking:
    if info["video"]["frames"] == 1:
        why = "This video has a single frame, and a motion needs two"
    else:
        why = (
            f"Nothing moves in this video: its motion peaks at {info['motion']['peak']:.2g} pixels a frame, "
            f"and less than {info['motion']['floor']:g} is taken for noise"
        )
    message = (
        f"{why}. There is no motion that a clip could have taught, so nothing was ranked. "
        "Send a video in which something moves."
    )
    return Ranking(message=message, ranked=0, top=[], bottom=[])


def _still_clip(clip_id: str, index: IndexRecord, database: Database) -> Ranking:
    """The answer for a clip that has no gradient because nothing moves in it.

    Raises:
        QuestionError: `clip_not_indexed`: it is not in the index, or could not be indexed.
    """
    with database.reading() as session:
        entry = EntryRepository(session).get_many(index.id, [clip_id]).get(clip_id)
    if entry is None:
        raise QuestionError(
            "clip_not_indexed",
            f"The index {index.name!r} has no clip {clip_id!r}.",
            field="clip",
            facts={"index": index.name},
        )
    if entry.outcome != "no_motion":
        raise QuestionError(
            "clip_not_indexed",
            f"The clip {clip_id!r} has no motion gradient in the index {index.name!r}: {entry.reason or 'not yet'}.",
            field="clip",
            todo="Ask about another clip, or index this one again.",
        )
    message = "Nothing moves in this clip, so no other moves like it, and nothing was ranked. Ask about another clip."
    return Ranking(message=message, ranked=0, top=[], bottom=[])
