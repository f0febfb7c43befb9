"""What the endpoints share: one of each for a running app."""

import threading
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from motiontrace.answering.engines import Engines
from motiontrace.answering.sandbox import Decoder
from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.database import Database
from motiontrace.service.access.links import LinkSigner
from motiontrace.service.access.media import below_a_root
from motiontrace.service.labeling.label_studio.connection import LabelStudio
from motiontrace.service.labeling.label_studio.inbox import Inbox
from motiontrace.service.media import Thumbnails
from motiontrace.service.observability.metrics import Metrics
from motiontrace.service.queries.following import Following
from motiontrace.service.settings import ServiceSettings
from motiontrace.service.worker import Worker


@dataclass(frozen=True)
class Context:
    """The parts of a running service."""

    settings: ServiceSettings
    database: Database
    engines: Engines
    searchers: Searchers
    worker: Worker | None  # None: queries are left to other processes
    decoder: Decoder
    thumbnails: Thumbnails
    metrics: Metrics
    rankings: CapacityLimiter  # as many at once as there are processors: more would only take turns
    stopping: threading.Event  # set once the service is to end
    links: LinkSigner
    label_studio: LabelStudio | None  # None: the settings name none
    inbox: Inbox | None  # of its webhooks; None where there is none
    webhook_secret: str  # that these have to bring
    following: Following

    def shown(self, path: str) -> str | None:
        """A clip's path as callers may see it; None: they may not."""
        return below_a_root(path, self.settings)


async def _context(request: Request) -> Context:  # async: a plain function would cost a trip to a thread
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


Service = Annotated[Context, Depends(_context)]
