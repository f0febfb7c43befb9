"""The door: every call passes here before its path is looked up and before a byte of its body is read."""

from __future__ import annotations

import math
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import Request

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.service.access.exposure import is_loopback, is_of_this_machine
from motiontrace.service.access.keyring import Keyring, unauthorised
from motiontrace.service.access.limits import RateLimiter
from motiontrace.service.access.scopes import TELLS_MORE, held, needed, takes_passwords
from motiontrace.service.problem import ProblemError, of_catalog, respond

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import keys
    from motiontrace.service.settings import ServiceSettings


class AccessMiddleware:
    """Lets through what needs no key, and what a key with the scope and the rate for it brings."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, database: Database) -> None:
        self._app, self._settings = app, settings
        self._keyring, self._limiter = Keyring(database), RateLimiter()
        self._always = not is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.may_read = False
        wanted = needed(scope["method"], scope["path"])
        try:
            if wanted is not None:
                await self._admit(request, wanted)
            elif scope["path"] in TELLS_MORE:
                with suppress(ProblemError, DatabaseUnavailableError):
                    await self._admit(request, "read")
        except ProblemError as error:
            await respond(request, error)(scope, receive, send)
            return
        except DatabaseUnavailableError as error:
            await of_catalog(request, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, request: Request, wanted: keys.Scope) -> None:
        """Return if the call may be made; every scope holds that of reading, which is noted for the endpoint.

        Raises:
            ProblemError: 401 no key, 429 too many requests, 403 not the scope.
        """
        if not self._always and await self._keyring.empty():
            if is_of_this_machine(request.headers, self._settings.cors_origins):
                request.state.may_read = True
                return
            raise unauthorised(
                "key_missing",
                "No API key was made, so this service answers this machine only, and this call names another host "
                f"({request.headers.get('host', 'none')[:100]!r}), or comes from a web page of one or through a proxy.",
                "Call localhost, 127.0.0.1 or the machine's own name, on the machine itself; or ask whoever runs the "
                "service for an API key. Pages of other origins are let in by MOTIONTRACE_CORS_ORIGINS.",
            )
        key = await self._keyring.owner(
            request.headers.get("authorization"), as_password=takes_passwords(request.scope["path"])
        )
        request.state.key_id = key.id  # for the log
        self._keyring.note_use(key)
        wait = self._limiter.take(key.id, key.requests_per_minute or self._settings.requests_per_minute)
        if wait:
            raise _too_many(math.ceil(wait))
        if not held(key.scopes, wanted):
            raise _missing(wanted)
        request.state.may_read = True


def _too_many(seconds: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too_many_requests",
        "This API key has made more requests than it may a minute.",
        f"Go on in {seconds} s; whoever runs the service can make a key that may make more.",
        headers={"retry-after": str(seconds)},
    )


def _missing(scope: keys.Scope) -> ProblemError:
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "scope_missing",
        f"This call needs the scope {scope!r}, which this API key does not have.",
        f"Ask whoever runs the service for a key of the scope {scope!r}.",
        headers={"www-authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
    )
