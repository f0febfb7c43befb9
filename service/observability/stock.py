"""What the catalog holds, for Prometheus: the queue and the sizes of the indexes, read at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.records import now
from motiontrace.catalog.repositories import IndexRepository, QueryRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from prometheus_client import Metric
    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database


class Stock(Collector):
    """The gauges of one database; without an answer from it there is only motiontrace_database_up, at 0."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: tuple[dict[str, datetime], dict[str, int]] = ({}, {})

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        up = GaugeMetricFamily("motiontrace_database_up", "1: the database answers.")
        try:
            with self._database.reading() as session:
                queue = QueryRepository(session).queue()
                clips = self._clips(session)
        except DatabaseUnavailableError:  # the log tells of it
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        waiting = GaugeMetricFamily("motiontrace_queries", "Unfinished queries, by status.", labels=["status"])
        waiting.add_metric(["queued"], queue.queued)
        waiting.add_metric(["running"], queue.running)
        age = GaugeMetricFamily("motiontrace_oldest_queued_seconds", "How long the oldest queued query has waited.")
        age.add_metric([], 0.0 if queue.oldest is None else (now() - queue.oldest).total_seconds())
        searchable = GaugeMetricFamily("motiontrace_index_clips", "Clips that can be ranked.", labels=["index"])
        for name, count in clips.items():
            searchable.add_metric([name], count)
        yield from (up, waiting, age, searchable)

    def describe(self) -> Iterator[Metric]:
        """Nothing: to register asks no database."""
        return iter(())

    def _clips(self, session: Session) -> dict[str, int]:
        """Clips by index; counting reads every entry, so it is done anew only once an index has changed."""
        changed = {index.name: index.updated_at for index in IndexRepository(session).all()}
        if changed != self._counted[0]:
            overviews = IndexRepository(session).overview()
            self._counted = changed, {overview.index.name: overview.counts["indexed"] for overview in overviews}
        return self._counted[1]
