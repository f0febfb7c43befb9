"""Whether the queue moves, as far as the database tells: nobody knows of workers that have not taken a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.catalog.records import now

if TYPE_CHECKING:
    from motiontrace.catalog.repositories import Queue

STALLED_SECONDS = 60.0


def stalled(queue: Queue) -> str | None:
    """Why it seems that nobody works on the queue, None if there is no sign of it."""
    if queue.oldest is None or queue.running:
        return None
    seconds = (now() - queue.oldest).total_seconds()
    if seconds < STALLED_SECONDS:
        return None
    return (
        f"{queue.queued:,} queries wait, the oldest for {seconds:,.0f} s, and none is being worked on: start a worker "
        "(motiontrace worker), or see the log of those that run."
    )
