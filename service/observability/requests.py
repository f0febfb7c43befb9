"""Around everything that answers a request: its id, one line in the log, and its place in the metrics."""

from __future__ import annotations

import logging
import time
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING

from motiontrace.service.observability import request_ids

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from motiontrace.service.observability.metrics import Metrics

UNMATCHED = "unmatched"  # the route of requests for which there is none
PROBES = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds by machines
_CUT_OFF = 499  # of a request that ended without any answer: nginx's code, HTTP has none
_METHODS = frozenset(HTTPMethod)
log = logging.getLogger(__name__)


def install(app: FastAPI, metrics: Metrics) -> None:
    """Put `Requests` around all of `app`, the framework's own middleware included: it answers unexpected errors."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: Requests(build(), metrics)  # type: ignore[method-assign]


class Requests:
    """ASGI middleware that follows each request from its first line to the last byte of its answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_ids.request_id(scope["headers"])
        token = request_ids.current.set(request_id)
        status = _CUT_OFF
        ended: float | None = None

        async def answer(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (request_ids.HEADER, request_id.encode())]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                ended = time.perf_counter()

        try:
            await self._app(scope, receive, answer)
        except Exception:
            if ended is None:
                raise  # the server has to close the connection
            # Answered and logged, see service.problem: the server would log it a second time.
        finally:
            self._tell(scope, status, (ended or time.perf_counter()) - started)
            request_ids.current.reset(token)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = getattr(scope.get("route"), "path_format", UNMATCHED)
        self._metrics.request(method, route, status, seconds)
        # As it was sent, escapes and all: it cannot break the line. What follows "?" may be secret, and is not in it.
        shown = scope["raw_path"][:200].decode("ascii", "backslashreplace") if route == UNMATCHED else route
        client = scope.get("client")
        log.log(
            logging.DEBUG if route in PROBES and status < HTTPStatus.BAD_REQUEST else logging.INFO,
            "%s %s %d",
            method,
            shown,
            status,
            extra={
                "method": method,
                "path": shown,
                "status": status,
                "duration_ms": round(1000 * seconds, 2),
                "client": None if client is None else client[0],
                "key_id": scope.get("state", {}).get("key_id"),
            },
        )
