"""Who may call the service, how often, and which headers for browsers its answers have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.service.access.cors import with_cors
from motiontrace.service.access.headers import SecurityHeaders
from motiontrace.service.access.middleware import AccessMiddleware

if TYPE_CHECKING:
    from fastapi import FastAPI

    from motiontrace.catalog.database import Database
    from motiontrace.service.settings import ServiceSettings


def install(app: FastAPI, settings: ServiceSettings, database: Database) -> None:
    """Put the door before all calls, and the headers for browsers around every answer, unexpected errors included."""
    app.add_middleware(AccessMiddleware, settings=settings, database=database)
    build = app.build_middleware_stack
    app.build_middleware_stack = (  # type: ignore[method-assign]
        lambda: SecurityHeaders(with_cors(build(), settings.cors_origins))
    )
