"""Predictions of tasks, of what is stored: the query's gradient and the clips' vectors, motion and labels."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from motiontrace.answering.chance import chance_now, kept_chance
from motiontrace.answering.ranking import place
from motiontrace.catalog.repositories import ClipRepository, IndexRepository, QueryRepository
from motiontrace.catalog.repositories.queries import direction_of
from motiontrace.service.labeling.label_studio.annotations import frame_rate
from motiontrace.service.labeling.label_studio.predictions import MODEL_VERSION, Timing, prediction
from motiontrace.service.problem import ProblemError, not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from motiontrace.catalog.repositories.clips import Details
    from motiontrace.documents.chance import Chance
    from motiontrace.documents.queries import Place
    from motiontrace.service.context import Context
    from motiontrace.service.labeling.label_studio.ml.schemas import TaskData
    from motiontrace.service.labeling.label_studio.setup import Setup

Json = dict[str, Any]


def model_version(query_id: str | None) -> str:
    """Under which name Label Studio files the predictions for that query; None: for each task's own.

    The latter is that of the predictions that tasks are pushed with: a task that has one is not asked about again.
    """
    return MODEL_VERSION if query_id is None else f"{MODEL_VERSION}-{query_id[:8]}"


def check_query(service: Context, query_id: str) -> None:
    """See that predictions can be made for that query.

    Raises:
        ProblemError: 404 there is none, 409 it is not done.
    """
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
    if query is None:
        raise not_found("query", query_id, "/v1/queries")
    if query.status != "done":
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "query_not_done",
            f"The query is {query.status}, so there is no ranking.",
            "Wait until it is done, or name another query in the backend's address.",
        )


def predictions(service: Context, tasks: Sequence[TaskData], setup: Setup, query_id: str | None) -> list[Json | None]:
    """A prediction of each task, in their order; None where nothing can be said of its clip.

    Args:
        service: holds all that is known.
        tasks: what they show.
        setup: of their project.
        query_id: of the query that scores the clips; None: of each task's own.

    Raises:
        CatalogError: an index cannot be read.
    """
    wanted: dict[str, set[str]] = {}  # the clips of each query
    asked: list[tuple[str, str] | None] = []
    for task in tasks:
        query, clip = _id(task.query_id if query_id is None else query_id), _id(task.clip_id)
        asked.append(None if query is None or clip is None else (query, clip))
        if query is not None and clip is not None:
            wanted.setdefault(query, set()).add(clip)
    known = {each: _known(service, each, clips) for each, clips in wanted.items()}
    version = model_version(query_id)
    return [
        None if key is None or key[1] not in known[key[0]] else _prediction(task, setup, version, known[key[0]][key[1]])
        for task, key in zip(tasks, asked, strict=True)
    ]


def _id(value: Any) -> str | None:
    """What may be the id of something."""
    return value if isinstance(value, str) and "\0" not in value else None  # PostgreSQL takes no such text


@dataclass(frozen=True)
class _Known:
    """What is known of a clip that a query ranks."""

    place: Place
    chance: Chance | None
    clip: Details


def _known(service: Context, query_id: str, clips: Iterable[str]) -> dict[str, _Known]:
    """What is known of these clips, of those that the query ranks."""
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
        if query is None or query.status != "done" or query.gradient is None:
            return {}
        index = IndexRepository(session).by_id(query.index_id)
        assert index is not None  # its deletion deletes its queries
        details = ClipRepository(session).detailed(clips, index.id)
    direction = direction_of(query)
    if not details or direction is None or direction.vector is None:
        return {}
    searcher = service.searchers.of(index)
    chance = kept_chance(query.result) or chance_now(searcher, direction, query.clip_id)
    page = searcher.ranked(direction.vector, limit=len(details), within=details, without=query.clip_id)
    return {hit.id: _Known(place(hit, direction, chance), chance, details[hit.id]) for hit in page.hits}


def _prediction(task: TaskData, setup: Setup, version: str, known: _Known) -> Json | None:
    clip, chance = known.clip, known.chance
    fps = frame_rate({"fps": task.fps})
    # How many frames there are by another rate than the file's is not known.
    timing = Timing(fps, clip.frames if fps == clip.fps else None, clip.seconds)
    found = prediction(
        setup, timing, verdict=clip.verdict, region=clip.motion_region, score=known.place.score, model_version=version
    )
    ends = {"chance_low": chance and chance.low, "chance_high": chance and chance.high}
    return None if found is None else {**found, "stands_out": known.place.stands_out, **ends}
