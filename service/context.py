"""What the endpoints share: one of each for a running app."""

import threading
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from catalog.database import Database
from service.access.links import LinkSigner
from service.access.media import below_a_root
from service.engines import Engines
from service.labeling.label_studio.connection import LabelStudio
from service.labeling.label_studio.inbox import Inbox
from service.media import Thumbnails
from service.observability.metrics import Metrics
from service.queries.following import Following
from service.sandbox import Decoder
from service.searchers import Searchers
from service.settings import ServiceSettings
from service.worker import Worker


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
