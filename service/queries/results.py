"""The whole ranking of a query: page by page, and as a file."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal, Self
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Response
from fastapi import Query as Parameter
from numpy.typing import NDArray

from catalog.repositories import IndexRepository, QueryRepository
from catalog.repositories.queries import unpack_gradient
from catalog.vectors import Searcher
from service import links
from service.context import Context, Service
from service.filters import Filter
from service.parameters import FilterParameters, PageSize, QueryId, Text
from service.problem import ProblemError, documented, invalid, not_found
from service.queries.documents import hits
from service.queries.export import Format, file_of, media_type
from service.queries.ranking import passing, place
from service.queries.schemas import Hit, RankingPage

router = APIRouter(prefix="/v1/queries", tags=["queries"])

PORTION = 10_000  # clips that an export reads at once: each portion is a scan of the index
End = Annotated[Literal["top", "bottom"], Parameter(description="The end of the ranking to begin at.")]


@router.get("/{query_id}/clips", summary="Page through a ranking", responses=documented(404, 409, 422))
def list_ranking(
    service: Service,
    query_id: QueryId,
    filter: FilterParameters,
    end: End = "top",
    after: Annotated[Text | None, Parameter(description="Where the page before ended; its `next` sets it.")] = None,
    limit: PageSize = 50,
) -> RankingPage:
    """Every clip that the query ranks, from either end, not only its top and bottom k; beside the query's own filter
    another may be given. Scores are those of the index as it is now: follow `next` until null, and no clip is missed or
    told twice though the index grows meanwhile."""
    reading = _Reading.open(service, query_id, filter, end)
    found, following = reading.portion(_place(after), limit)
    query = [("end", end), ("limit", str(limit)), *(filter.to_query_string() if filter else [])]
    path = None
    if following is not None:
        path = f"{links.query(query_id)}/clips?{urlencode([*query, ('after', f'{following[0]!r}~{following[1]}')])}"
    return RankingPage(ranked=reading.ranked, clips=found, next=path)


@router.get(
    "/{query_id}/export",
    summary="Fetch a ranking as a file",
    response_class=Response,
    responses={
        200: {
            "description": "The ranking, a clip a row: rank, score, percentile, id, caption, verdict, decision, "
            "metadata (in CSV and Parquet as JSON text), video_url.",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("text/csv; charset=utf-8", "application/jsonl", "application/vnd.apache.parquet")
            },
        },
        **documented(404, 409, 422),
    },
)
def export_ranking(
    service: Service,
    query_id: QueryId,
    filter: FilterParameters,
    format: Annotated[Format, Parameter(description="Kind of file.")] = "csv",
    end: End = "top",
    limit: Annotated[int | None, Parameter(ge=1, description="How many clips at most; left out: all.")] = None,
) -> Response:
    """The same as the pages, in one file."""
    reading = _Reading.open(service, query_id, filter, end)
    portions = reading.portions(limit)
    first = next(portions)  # what can fail does so before the answer begins
    name = f"motiontrace-{query_id}.{format}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return file_of(format, first, portions, headers=headers, media_type=media_type(format))


@dataclass
class _Reading:
    """A query's ranking as it is read, portion by portion."""

    service: Context
    searcher: Searcher | None  # one version of the index for all portions; None: nothing moves, nothing is ranked
    gradient: NDArray[np.float32] | None
    within: Collection[str] | None
    without: str | None
    ascending: bool
    ranked: int = 0

    @classmethod
    def open(cls, service: Context, query_id: str, filter: Filter | None, end: str) -> Self:
        with service.database.reading() as session:
            query = QueryRepository(session).get(query_id)
            if query is None:
                raise not_found("query", query_id, "/v1/queries")
            index = IndexRepository(session).by_id(query.index_id)
        assert index is not None  # its deletion deletes its queries
        if query.status != "done":
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "query_not_done",
                f"The query is {query.status}, so there is no ranking.",
                f"Wait until GET {links.query(query_id)} says that it is done; ask again where it failed.",
            )
        filters = [] if query.filter is None else [Filter.model_validate(query.filter)]
        filters += [] if filter is None else [filter]
        within = passing(service.database, index, *filters) if filters else None
        gradient = None if query.gradient is None else unpack_gradient(query.gradient)
        searcher = None if gradient is None else service.searchers.of(index)
        return cls(service, searcher, gradient, within, query.clip_id, end == "bottom")

    def portion(self, after: tuple[float, str] | None, limit: int) -> tuple[list[Hit], tuple[float, str] | None]:
        """Clips behind a place of the ranking, and the place where the next ones begin; None: there are none."""
        if self.searcher is None or self.gradient is None:
            return [], None
        page = self.searcher.ranked(
            self.gradient, after=after, limit=limit, ascending=self.ascending, within=self.within, without=self.without
        )
        self.ranked = page.total
        with self.service.database.reading() as session:
            found = hits(session, [place(hit) for hit in page.hits])
        if not page.hits:
            return found, None
        last = page.hits[-1]
        is_last = last.rank == (1 if self.ascending else page.total)
        return found, None if is_last else (last.score, last.id)

    def portions(self, limit: int | None) -> Iterator[list[Hit]]:
        """All clips, or the first `limit`, in portions; the first comes even where it is empty."""
        after: tuple[float, str] | None = None
        left = limit
        while True:
            found, after = self.portion(after, PORTION if left is None else min(left, PORTION))
            yield found
            left = None if left is None else left - len(found)
            if after is None or left == 0:
                return


def _place(after: str | None) -> tuple[float, str] | None:
    if after is None:
        return None
    score, separator, clip_id = after.partition("~")
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not separator or not math.isfinite(value):
        raise invalid("after", "unknown_place", f"{after!r} is no place in a ranking.", "Follow `next` of a page.")
    return value, clip_id
