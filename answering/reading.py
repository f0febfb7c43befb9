"""A query's whole ranking, read portion by portion from one of its ends, with the records of its clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

from motiontrace.answering.chance import chance_now, kept_chance
from motiontrace.answering.documents import hits
from motiontrace.answering.errors import QuestionError
from motiontrace.answering.ranking import passing, place
from motiontrace.answering.rows import described
from motiontrace.answering.unmet import unmet
from motiontrace.catalog.repositories import IndexRepository, QueryRepository
from motiontrace.catalog.repositories.queries import direction_of
from motiontrace.documents.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from motiontrace.answering.rows import End, Row
    from motiontrace.answering.searchers import Searchers
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord, QueryRecord
    from motiontrace.catalog.vectors import Direction, Searcher
    from motiontrace.documents.chance import Chance
    from motiontrace.documents.queries import Hit, Place

PORTION = 10_000  # places that an export reads at once: each portion is a scan of the index
SLICE = 200  # clips that it reads at once: one with many boxes takes hundreds of kilobytes


class Source(Protocol):
    """What rankings are read from: a running service, or a catalog on this machine."""

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

    Attributes:
        source: where it is read from.
        query: the query, which is done.
        index: the index that it was asked of.
        searcher: one version of the index for all portions; None: nothing is ranked.
        direction: what clips are scored along, the same for all portions. None: nothing moves.
        within: the ids of the clips that pass the filters; None: all.
        without: the clip that was asked about, which is left out; None: a video was.
        ascending: whether the lowest score comes first.
        remarks: a sentence on each part of the filter that no clip meets.
        ranked: how many clips there are, once a portion has been read.
    """

    source: Source
    query: QueryRecord
    index: IndexRecord
    searcher: Searcher | None
    direction: Direction | None
    within: Collection[str] | None
    without: str | None
    ascending: bool
    remarks: list[str]
    ranked: int = 0

    @classmethod
    def open(cls, source: Source, query_id: str, filter: Filter | None, end: str) -> Self:
        """Begin at the `end` of a query that is done, "top" or "bottom"; `filter` holds beside the query's own.

        Raises:
            QuestionError: `query_not_found`: there is no such query; `query_not_done`: it has no ranking yet.
            CatalogError: the index cannot be read.
        """
        with source.database.reading() as session:
            query = QueryRepository(session).get(query_id)
            if query is None:
                raise QuestionError("query_not_found", f"There is no query {query_id!r}.")
            index = IndexRepository(session).by_id(query.index_id)
            assert index is not None  # its deletion deletes its queries
            remarks = unmet(session, index, filter)
        if query.status != "done":
            raise QuestionError(
                "query_not_done",
                f"The query is {query.status}, so there is no ranking.",
                facts={"query": query_id},
            )
        filters = [] if query.filter is None else [Filter.model_validate(query.filter)]
        filters += [] if filter is None else [filter]
        within = passing(source.database, index, *filters) if filters else None
        direction = direction_of(query)
        searcher = None if direction is None or direction.vector is None else source.searchers.of(index)
        return cls(source, query, index, searcher, direction, within, query.clip_id, end == "bottom", remarks)

    @cached_property
    def chance(self) -> Chance | None:
        """Where chance lies among the scores: as the answer has it, or as it is now where an older answer has none.

        None: nothing is ranked.
        """
        found = kept_chance(self.query.result)
        if found is not None or self.searcher is None or self.direction is None:
            return found
        return chance_now(self.searcher, self.direction, self.without)

    @property
    def message(self) -> str | None:
        """A sentence to show, where a part of the filter is met by no clip."""
        return " ".join(self.remarks) or None

    def portion(self, after: tuple[float, str] | None, limit: int) -> tuple[list[Hit], tuple[float, str] | None]:
        """Clips behind a place of the ranking, and the place where the next ones begin; None: there are none."""
        places, following = self._places(after, limit)
        with self.source.database.reading() as session:
            return hits(session, self.index.id, places, self.source.shown), following

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
                with self.source.database.reading() as session:
                    portion = places[start : start + SLICE]
                    found = described(session, self.index.id, portion, end, self.source.shown, self.chance)
                yield found
            read += len(places)
            if after is None or read >= most:
                break
        if both and self.ranked > read:
            others = self.ranked - read
            yield from replace(self, ascending=not self.ascending).rows(min(others, limit or others))
