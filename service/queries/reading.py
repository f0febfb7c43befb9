"""A query as it is now, and its ranking, read from one of its ends and joined with its clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, Self

from motiontrace.answering.chance import found_anew, kept
from motiontrace.answering.documents import hits
from motiontrace.answering.ranking import passing, place
from motiontrace.answering.rows import described
from motiontrace.answering.unmet import unmet
from motiontrace.catalog.repositories import IndexRepository, QueryRepository
from motiontrace.catalog.repositories.queries import direction_of
from motiontrace.documents import links
from motiontrace.documents.filters import Filter
from motiontrace.service.problem import ProblemError, not_found
from motiontrace.service.queries.documents import full

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from motiontrace.answering.rows import End, Row
    from motiontrace.answering.searchers import Searchers
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord, QueryRecord
    from motiontrace.catalog.vectors import Direction, Searcher
    from motiontrace.documents.chance import Chance
    from motiontrace.documents.queries import Hit, Place, Query
    from motiontrace.service.settings import ServiceSettings

PORTION = 10_000  # places that an export reads at once: each portion is a scan of the index
SLICE = 200  # clips that it reads at once: one with many boxes takes hundreds of kilobytes


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


def read_query(service: Source, query_id: str) -> Query:
    """The query as it is now.

    Raises:
        ProblemError: 404, there is none of that id.
    """
    with service.database.reading() as session:
        query = QueryRepository(session).get(query_id)
        if query is None:
            raise not_found("query", query_id, "/v1/queries")
        return full(session, query, service.shown)


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
        end: End = "bottom" if self.ascending else "top"
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
