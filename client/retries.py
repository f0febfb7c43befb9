"""When a call is sent again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from pydantic import ValidationError

from motiontrace.documents.base import Problem

if TYPE_CHECKING:
    from motiontrace.client.calls import Repeat

FIRST_PAUSE = 0.5  # seconds; each further one is twice as long
LONGEST_PAUSE = 60.0  # seconds; a service that asks for a longer one is not waited for
MAYBE_PROCESSED = (502, 503, 504)
# Codes of 503 that say that nothing was done; a database goes away after a query was stored, too, and proxies say 503.
NOT_PROCESSED = ("queue_full", "stopping", "too_many_connections")


@dataclass
class Attempts:
    """The attempts at one call.

    Attributes:
        repeat: what Call.repeat says of it.
        retries: how often it is sent again at most.
        until: when the next attempt must have begun, of time.monotonic().
    """

    repeat: Repeat
    retries: int
    until: float
    made: int = 0

    def pause(self, failure: httpx.Response | httpx.RequestError) -> float | None:
        """Seconds until the call is to be sent again; None: it is not."""
        if self.made >= self.retries or not self._may_be_repeated(failure):
            return None
        asked = failure.headers.get("retry-after", "") if isinstance(failure, httpx.Response) else ""
        backoff = FIRST_PAUSE * 2**self.made
        # Chance keeps clients apart that failed together.
        pause = float(asked) + random.uniform(0, FIRST_PAUSE) if asked.isdecimal() else backoff * random.uniform(0.5, 1)
        self.made += 1
        return pause if pause <= LONGEST_PAUSE and time.monotonic() + pause <= self.until else None

    def _may_be_repeated(self, failure: httpx.Response | httpx.RequestError) -> bool:
        if self.repeat == "never":
            return False
        always = self.repeat == "always"
        if isinstance(failure, httpx.Response):
            if failure.status_code in MAYBE_PROCESSED:
                return always or _code(failure) in NOT_PROCESSED
            return failure.status_code == httpx.codes.TOO_MANY_REQUESTS
        unsent = isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout)
        return unsent or (always and isinstance(failure, httpx.NetworkError | httpx.RemoteProtocolError))


def _code(response: httpx.Response) -> str | None:
    try:
        return Problem.model_validate_json(response.content).code
    except ValidationError:
        return None
