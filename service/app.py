"""The service as an ASGI application."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.routing import APIRoute

from catalog.database import Database, upgrade
from catalog.repositories import QueryRepository
from service import health, problem
from service.clips import endpoints as clips
from service.context import Context
from service.engines import Engines
from service.indexes import endpoints as indexes
from service.media import Thumbnails
from service.queries import endpoints as queries
from service.schemas import Problem
from service.searchers import Searchers
from service.settings import ServiceSettings
from service.uploads import remove_abandoned
from service.worker import Worker

SHUTDOWN_SECONDS = 10.0  # for the stage in hand; the query is taken up again at the next start

DESCRIPTION = """
Which training clips taught a text-to-video model to move like this?

Send a generated video and its prompt to `POST /v1/queries`. The answer ranks the clips of an index by their
influence on that motion: the top of the list taught it, the bottom fights it.

Every error is `application/problem+json` (RFC 9457) and says what to do.
"""


def create_app(settings: ServiceSettings) -> FastAPI:
    """The app with its own worker thread, over a database that is brought up to date first.

    Raises:
        CatalogError: the database cannot be used; says what to do.
    """
    upgrade(settings.url)
    database = Database.open(settings.url)

    stopping = threading.Event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_sync(_remove_orphans, settings, database)
        engines = Engines(settings.device, settings.basis_directory)
        searchers = Searchers(settings.index_directory)
        worker = Worker(database, engines, searchers, stopping)
        thumbnails = Thumbnails(settings.thumbnail_directory)
        app.state.context = Context(settings, database, engines, searchers, worker, thumbnails, stopping)
        try:
            worker.start()
            yield
        finally:
            await run_sync(worker.stop, SHUTDOWN_SECONDS)
            database.close()

    app = FastAPI(
        title="motiontrace",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.stopping = stopping
    problem.install(app)
    for room in (queries, clips, indexes, health):
        app.include_router(room.router)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"].update(_problem_schemas())
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def serve(settings: ServiceSettings) -> None:
    """Run the app on the settings' address until SIGINT or SIGTERM.

    Raises:
        CatalogError: the database cannot be used; says what to do.
    """
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has ended
        Server(create_app(settings), host=settings.host, port=settings.port).run()


class Server(uvicorn.Server):
    """A server that tells its app of a signal at once: calls that wait for a result are answered then."""

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        grace = int(SHUTDOWN_SECONDS)  # for uploads and downloads under way
        super().__init__(uvicorn.Config(app, host=host, port=port, timeout_graceful_shutdown=grace))
        self._stopping: threading.Event = app.state.stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGINT or SIGTERM."""
        self._stopping.set()
        super().handle_exit(sig, frame)


def _remove_orphans(settings: ServiceSettings, database: Database) -> None:
    """Remove uploads that a crash or a deleted index has left without their row."""
    with database.reading() as session:
        named = {Path(path).parent.name for path in QueryRepository(session).video_paths()}
    remove_abandoned(settings.upload_directory, named)


def _operation_id(route: APIRoute) -> str:
    """create_query, list_clips, ...: the functions' own names."""
    return route.name


def _problem_schemas() -> dict[str, Any]:
    """Problem and what it is made of: FastAPI only collects models that are served as plain JSON."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = schema.pop("$defs")
    return {**parts, "Problem": schema}
