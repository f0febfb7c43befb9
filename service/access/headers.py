"""What every answer tells browsers: nothing of it is to be run, framed, guessed at or kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.service.access.scopes import LINKED, REFERENCE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWERS = {
    # media-src: a browser that is led to a clip's address shows it in a page of its own, which this policy governs.
    "content-security-policy": "default-src 'none'; media-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    # same-site, not same-origin: a labelling tool on another port of this machine may show clips.
    "cross-origin-resource-policy": "same-site",
    "cache-control": "no-store",
}
# Swagger UI: its script and its styles come from here; it draws icons from data: addresses and shows answers as blobs.
REFERENCE_ANSWERS = ANSWERS | {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-cache",
}
# The pages of labelling tools are of any origin. Who has a link may load the clip from anywhere: no credential but the
# link itself is looked at. Label Studio's player takes only what the second one allows, and tells of errors only then.
LINKED_ANSWERS = ANSWERS | {"cross-origin-resource-policy": "cross-origin", "access-control-allow-origin": "*"}


class SecurityHeaders:
    """Adds the headers above to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answers = _encoded(ANSWERS)
        self._special = {REFERENCE: _encoded(REFERENCE_ANSWERS), LINKED: _encoded(LINKED_ANSWERS)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = f"{scope['path']}/"  # /docs itself is below it, too
        added = next((some for place, some in self._special.items() if path.startswith(place)), self._answers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                there = {name.lower() for name, _ in headers}
                message["headers"] = headers + [each for each in added if each[0] not in there]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
