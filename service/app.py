"""The service as an ASGI application."""

import logging
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.routing import APIRoute

from motiontrace.answering.engines import Engines
from motiontrace.answering.sandbox import Decoder, decoder_limits
from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.repositories import SecretRepository
from motiontrace.documents.base import Problem
from motiontrace.service import access, health, problem, reference
from motiontrace.service.access.exposure import check_exposure
from motiontrace.service.access.links import SECRET, LinkSigner
from motiontrace.service.access.media import below_a_root
from motiontrace.service.access.openapi import describe_access
from motiontrace.service.clips import endpoints as clips
from motiontrace.service.clips import linked_video
from motiontrace.service.connections import Connections, Listener, bind, raise_descriptor_limit
from motiontrace.service.context import Context
from motiontrace.service.indexes import endpoints as indexes
from motiontrace.service.labeling.label_studio import callback, webhook
from motiontrace.service.labeling.label_studio import endpoints as label_studio_endpoints
from motiontrace.service.labeling.label_studio.connection import connect
from motiontrace.service.labeling.label_studio.inbox import Inbox
from motiontrace.service.labeling.label_studio.ml import endpoints as ml_backend
from motiontrace.service.labels import endpoints as labels
from motiontrace.service.media import Thumbnails
from motiontrace.service.observability import endpoints as metrics_endpoints
from motiontrace.service.observability import requests
from motiontrace.service.observability.logs import configure_logging
from motiontrace.service.observability.metrics import Metrics
from motiontrace.service.observability.stock import Stock
from motiontrace.service.protocol import BoundedProtocol, Patience
from motiontrace.service.queries import endpoints as queries
from motiontrace.service.queries import events, results
from motiontrace.service.queries.following import Following
from motiontrace.service.settings import ServiceSettings
from motiontrace.service.worker import Worker

SHUTDOWN_SECONDS = 10.0  # for the stage in hand; the query is taken up again at the next start
INBOX_SECONDS = 1.0  # for the task in hand; what was noted is seen to after the next start
log = logging.getLogger(__name__)

DESCRIPTION = """
Which training clips taught a text-to-video model to move like this?

Send a generated video and its prompt to `POST /v1/queries`. The answer ranks the clips of an index by their
influence on that motion. A clip taught it, or fights it, where its score stands out from chance.

Every error is `application/problem+json` (RFC 9457) and says what to do. Every answer has an `X-Request-ID`, the
caller's own where one was sent; the service's log tells what happened under it.
"""


def create_app(settings: ServiceSettings, *, worker: bool = True) -> FastAPI:
    """The app over a database that is brought up to date first.

    Args:
        settings: where it listens and what it accepts.
        worker: whether a thread of it answers queries; else they wait for `motiontrace worker`.

    Raises:
        CatalogError: the database cannot be used; says what to do.
    """
    upgrade(settings.url)
    database = Database.open(settings.url)
    with database.writing() as session:
        signer = LinkSigner(SecretRepository(session).get_or_create(SECRET))
        webhook_secret = SecretRepository(session).get_or_create(callback.SECRET).hex()
    metrics = Metrics()
    metrics.add(Stock(database))
    stopping = threading.Event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = Engines(settings.device, settings.basis_directory, metrics.model_loaded)
        searchers = Searchers(settings.index_directory)
        decoder = Decoder(decoder_limits(settings))
        thumbnails = Thumbnails(settings.thumbnail_directory, decoder)
        label_studio = connect(settings)
        inbox = None if label_studio is None else Inbox(database, label_studio, stopping)
        work = Worker(database, settings, engines, searchers, decoder, metrics, stopping) if worker else None
        app.state.context = Context(
            settings,
            database,
            engines,
            searchers,
            work,
            decoder,
            thumbnails,
            metrics,
            CapacityLimiter(os.cpu_count() or 1),
            stopping,
            signer,
            label_studio,
            inbox,
            webhook_secret,
            Following(database, stopping, settings.max_streams, partial(below_a_root, settings=settings)),
        )
        try:
            if work is None:
                searchers.keep_warm(database, stopping)
            else:
                work.start()
            if inbox is not None:
                inbox.start()
            yield
        finally:
            stopping.set()
            if work is not None:
                await run_sync(work.stop, SHUTDOWN_SECONDS)
            await run_sync(decoder.close)
            if inbox is not None:
                await run_sync(inbox.stop, INBOX_SECONDS)
            if label_studio is not None:
                label_studio.close()
            database.close()

    app = FastAPI(
        title="motiontrace",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # see service.reference
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.stopping, app.state.settings = stopping, settings
    problem.install(app)
    access.install(app, settings, database)
    requests.install(app, metrics)
    reference.install(app)
    for room in (
        queries,
        events,
        results,
        clips,
        linked_video,
        labels,
        indexes,
        label_studio_endpoints,
        webhook,
        ml_backend,
        health,
        metrics_endpoints,
    ):
        app.include_router(room.router)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"].update(_problem_schemas())
        describe_access(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def serve(settings: ServiceSettings, *, worker: bool = True) -> None:
    """Run the app on the settings' address until SIGINT or SIGTERM.

    Raises:
        CatalogError: the database cannot be used; says what to do.
        UnprotectedError: other machines would reach the service, and there is no API key.
        ListenError: the address cannot be listened on; says what to do.
    """
    configure_logging(settings)
    check_exposure(settings)
    raise_descriptor_limit()
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has ended
        Server(create_app(settings, worker=worker), host=settings.host, port=settings.port).run()


class Server(uvicorn.Server):
    """A server that bounds its connections, and tells its app of a signal at once.

    Calls that wait for a result are answered then.
    """

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        """Bind the address.

        Raises:
            ListenError: it cannot be listened on; says what to do.
        """
        settings: ServiceSettings = app.state.settings
        protocol = partial(
            BoundedProtocol,
            patience=Patience(settings.head_seconds, settings.stall_seconds, settings.idle_seconds),
            connections=(connections := Connections(settings.max_connections)),
        )
        # Its own logging is off: service.observability tells of each request.
        config = uvicorn.Config(
            app,
            timeout_graceful_shutdown=int(SHUTDOWN_SECONDS),  # for uploads and downloads under way
            log_config=None,
            access_log=False,
            server_header=False,
            http=protocol,  # type: ignore[arg-type]  # called as the class is
            ws="none",
        )
        super().__init__(config)
        self._sockets, self._connections = bind(host, port), connections
        self._stopping: threading.Event = app.state.stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin the app, then take connections."""
        await super().startup(sockets=[])

        def begin() -> BoundedProtocol:
            protocol: BoundedProtocol = self.config.http_protocol_class(  # type: ignore[call-arg, assignment]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return protocol

        self.servers = [Listener(each, begin, self._connections) for each in self._sockets]  # type: ignore[misc]
        for each in self._sockets:
            host, port, *_ = each.getsockname()
            log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGINT or SIGTERM."""
        self._stopping.set()
        super().handle_exit(sig, frame)


def _operation_id(route: APIRoute) -> str:
    """create_query, list_clips, ...: the functions' own names."""
    return route.name


def _problem_schemas() -> dict[str, Any]:
    """Problem and what it is made of: FastAPI only collects models that are served as plain JSON."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = schema.pop("$defs")
    return {**parts, "Problem": schema}
