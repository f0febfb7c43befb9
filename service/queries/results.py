"""The whole ranking of a query: page by page, and as a file."""

import math
import string
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from pydantic import Field
from starlette.responses import StreamingResponse

from motiontrace.answering.chance import found_anew, kept
from motiontrace.answering.documents import hits
from motiontrace.answering.ranking import passing, place
from motiontrace.answering.rows import End as RowEnd
from motiontrace.answering.rows import Row, described
from motiontrace.answering.searchers import Searchers
from motiontrace.answering.unmet import unmet
from motiontrace.catalog.database import Database
from motiontrace.catalog.records import IndexRecord, QueryRecord
from motiontrace.catalog.repositories import IndexRepository, QueryRepository
from motiontrace.catalog.repositories.queries import direction_of
from motiontrace.catalog.vectors import Direction, Searcher
from motiontrace.documents import links
from motiontrace.documents.chance import Chance
from motiontrace.documents.filters import Filter
from motiontrace.documents.queries import Hit, Place, RankingPage
from motiontrace.formats.cells import JSON_COLUMNS
from motiontrace.formats.export import COLUMNS
from motiontrace.formats.registry import FOLDERS, FORMATS, TABLES
from motiontrace.service.context import Service
from motiontrace.service.parameters import WRITTEN, FilterParameters, PageSize, QueryId, Text
from motiontrace.service.problem import ProblemError, documented, invalid, not_found
from motiontrace.service.queries.export import DEFAULT_VIDEOS, MAX_VIDEOS, exported
from motiontrace.service.settings import ServiceSettings

router = APIRouter(prefix="/v1/queries", tags=["queries"])

PORTION = 10_000  # places that an export reads at once: each portion is a scan of the index
SLICE = 200  # clips that it reads at once: one with many boxes takes hundreds of kilobytes
if TYPE_CHECKING:
    FormatName = str
else:  # the names of the registry
    FormatName = Literal[TABLES] | Literal[FOLDERS]
End = Annotated[Literal["top", "bottom"], Parameter(description="The end of the ranking to begin at.")]
MESSAGE_HEADER = "motiontrace-message"
HEADER_TEXT = string.printable[:95].replace("%", "")  # is not escaped in it


@router.get("/{query_id}/clips", summary="Page through a ranking", responses=documented(404, 409, 422))
def list_ranking(
    service: Service,
    query_id: QueryId,
    filter: FilterParameters,
    end: End = "top",
    after: Annotated[Text | None, Parameter(description="Where the page before ended; its `next` sets it.")] = None,
    limit: PageSize = 50,
) -> RankingPage:
    """Every clip that the query ranks, from either end, not only its top and bottom k.

    Beside the query's own filter another may be given. Scores are those of the index as it is now: follow `next` until
    null, and no clip is missed or listed twice though the index grows meanwhile.
    """
    reading = Reading.open(service, query_id, filter, end)
    found, following = reading.portion(_place(after), limit)
    query = [("end", end), ("limit", str(limit)), *(filter.to_query_string() if filter else [])]
    path = None
    if following is not None:
        path = f"{links.query(query_id)}/clips?{urlencode([*query, ('after', f'{following[0]!r}~{following[1]}')])}"
    return RankingPage(ranked=reading.ranked, message=reading.message, chance=reading.chance, clips=found, next=path)


@router.get(
    "/{query_id}/export",
    summary="Fetch a ranking as a file",
    response_class=Response,
    responses={
        200: {
            "description": f"The ranking. As a table, a clip a row: {', '.join(COLUMNS)}; in CSV and Parquet "
            f"{', '.join(JSON_COLUMNS)} are JSON text, and CSV is UTF-8 with a byte order mark. For a tool, a zip "
            "file: a folder in the tool's own format, with the clips' videos.",
            "content": {
                each.media_type: {"schema": {"type": "string", "format": "binary"}} for each in FORMATS.values()
            },
        },
        **documented(404, 409, 422),
    },
)
def export_ranking(
    request: Request,
    service: Service,
    query_id: QueryId,
    filter: FilterParameters,
    format: Annotated[
        FormatName,
        Parameter(
            description=f"A table ({', '.join(TABLES)}), or a folder for a tool ({', '.join(FOLDERS)}) as a zip file."
        ),
    ] = "csv",
    end: Annotated[
        Literal["top", "bottom", "both"],
        Parameter(description="The end of the ranking to begin at; both: the top, then the bottom from its outermost."),
    ] = "top",
    limit: Annotated[
        Annotated[int, Field(ge=1), WRITTEN] | None,
        Parameter(
            description="How many clips at most, of both ends each. Left out: all; for a tool, whose folder has the "
            f"videos, {DEFAULT_VIDEOS}. For a tool {MAX_VIDEOS:,} at most.",
        ),
    ] = None,
) -> Response:
    """The same as the pages, in one file, with all that was said of the clips."""
    reading = Reading.open(service, query_id, filter, end)
    written, address = FORMATS[format], service.settings.public_url or str(request.base_url).rstrip("/")
    content = exported(written, reading, both=end == "both", limit=limit, address=address)
    headers = reading.headers(f"{query_id}{written.suffix}")
    if content.size is not None:
        headers["content-length"] = str(content.size)
    return StreamingResponse(content.pieces, headers=headers, media_type=written.media_type)


class Source(Protocol):
    """What rankings are read from: a running service, or a catalog on this machine."""

    @property
    def settings(self) -> ServiceSettings:
        """Say which files may be given away."""

    @property
    def database(self) -> Database:
        """Of the catalog."""

    @property
    def searchers(self) -> Searchers:
        """Search its indexes."""

    def shown(self, path: str) -> str | None:
        """A clip's path as the reader may see it; None: not at all."""


@dataclass
class Reading:
    """A query's ranking as it is read from one of its ends, portion by portion.

    `ranked` is how many clips there are, once a portion has been read.
    """

    service: Source
    query: QueryRecord
    index: IndexRecord
    searcher: Searcher | None  # one version of the index for all portions; None: nothing is ranked
    direction: Direction | None  # the same for all portions, whatever becomes of the index; None: nothing moves
    within: Collection[str] | None
    without: str | None
    ascending: bool
    told: list[str]  # what of the filter no clip meets
    ranked: int = 0

    @classmethod
    def open(cls, service: Source, query_id: str, filter: Filter | None, end: str) -> Self:
        """Begin at the `end` of a query that is done, "top" or "bottom"; `filter` holds beside the query's own.

        Raises:
            ProblemError: 404 there is no such query, 409 it is not done.
        """
        with service.database.reading() as session:
            query = QueryRepository(session).get(query_id)
            if query is None:
                raise not_found("query", query_id, "/v1/queries")
            index = IndexRepository(session).by_id(query.index_id)
            assert index is not None  # its deletion deletes its queries
            told = unmet(session, index, filter)
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
        direction = direction_of(query)
        searcher = None if direction is None or direction.vector is None else service.searchers.of(index)
        return cls(service, query, index, searcher, direction, within, query.clip_id, end == "bottom", told)

    @cached_property
    def chance(self) -> Chance | None:
        """Where chance lies among the scores, as the answer tells it; found anew where an older answer does not.

        None: nothing is ranked.
        """
        told = kept(self.query.result)
        if told is not None or self.searcher is None or self.direction is None:
            return told
        return found_anew(self.searcher, self.direction, self.without)

    @property
    def message(self) -> str | None:
        """A sentence to show, where a part of the filter is met by no clip."""
        return " ".join(self.told) or None

    def headers(self, name: str) -> dict[str, str]:
        """The headers of the ranking as a file, `name` the end of its name."""
        told = {} if self.message is None else {MESSAGE_HEADER: quote(self.message, safe=HEADER_TEXT)}
        return {"content-disposition": f'attachment; filename="motiontrace-{name}"', **told}

    def portion(self, after: tuple[float, str] | None, limit: int) -> tuple[list[Hit], tuple[float, str] | None]:
        """Clips behind a place of the ranking, and the place where the next ones begin; None: there are none."""
        places, following = self._places(after, limit)
        with self.service.database.reading() as session:
            return hits(session, self.index.id, places, self.service.shown), following

    def _places(self, after: tuple[float, str] | None, limit: int) -> tuple[list[Place], tuple[float, str] | None]:
        if self.searcher is None or self.direction is None or self.direction.vector is None:
            return [], None
        page = self.searcher.ranked(
            self.direction.vector,
            after=after,
            limit=limit,
            ascending=self.ascending,
            within=self.within,
            without=self.without,
        )
        self.ranked = page.total
        places = [place(hit, self.direction, self.chance) for hit in page.hits]
        if not places:
            return [], None
        last = page.hits[-1]
        is_last = last.rank == (1 if self.ascending else page.total)
        return places, None if is_last else (last.score, last.id)

    def rows(self, limit: int | None, *, both: bool = False) -> Iterator[list[Row]]:
        """All clips, or the first `limit`, in portions; the first comes even where it is empty.

        With `both` as many from the other end follow, its outermost first. No clip comes twice: of fewer clips than
        twice `limit` each comes from the end that it is nearer to.
        """
        end: RowEnd = "bottom" if self.ascending else "top"
        after: tuple[float, str] | None = None
        read, most = 0, math.inf if limit is None else limit
        while True:
            places, after = self._places(after, int(min(PORTION, most - read)))
            if both:
                most = min(most, (self.ranked + 1) // 2)
                places = places[: int(most) - read]
            for start in range(0, max(len(places), 1), SLICE):
                with self.service.database.reading() as session:
                    portion = places[start : start + SLICE]
                    found = described(session, self.index.id, portion, end, self.service.shown, self.chance)
                yield found
            read += len(places)
            if after is None or read >= most:
                break
        if both and self.ranked > read:
            others = self.ranked - read
            yield from replace(self, ascending=not self.ascending).rows(min(others, limit or others))


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
