"""Which other sites' pages may call the service from a browser: none, unless the settings name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
SENT = (
    "Authorization",
    "Prefer",
    "Content-Type",
    "Range",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "X-Request-ID",
)
SEEN = (
    "Location",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
    "ETag",
    "Content-Range",
    "Content-Disposition",
    "X-Request-ID",
)


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """`app`, open to pages of these origins and to no other's. They send a key themselves: no cookie is involved."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=SEEN,
        allow_credentials=False,
    )
