"""One id for each request: in its answer, in every log line about it, and in its errors."""

import re
import uuid
from contextvars import ContextVar

HEADER = b"x-request-id"
_SANE = re.compile(rb"[!-~]{1,128}")  # printable ASCII without spaces

current: ContextVar[str | None] = ContextVar("motiontrace_request_id", default=None)
"""Of the request that is being answered, in threads that work for it too; None outside of requests."""


def request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """The id that the caller gives in X-Request-ID, to be followed through several services; else a new one.

    Args:
        headers: of the request, names in lower case. An id that is long or not printable ASCII is not taken.
    """
    for name, value in headers:
        if name == HEADER and _SANE.fullmatch(value):
            return value.decode()
    return uuid.uuid4().hex
