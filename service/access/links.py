"""Links to clips' videos that work without an API key, for a time: labelling tools show them in people's browsers."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import time
from http import HTTPStatus
from urllib.parse import quote, urlencode

from motiontrace.service.problem import ProblemError

SECRET = "media links"  # the name of their key among the service's secrets
DAY_SECONDS = 86_400
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")  # one way to write each number, and none that no date can hold
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def expiry(days: float, moment: float | None = None) -> int:
    """When a link made at `moment` ends that is to work for so many days, both in seconds of Unix time; default: now.

    It is the end of a day (UTC), so that links of the same day are the same, and browsers keep what they have loaded.
    """
    end = (time.time() if moment is None else moment) + days * DAY_SECONDS
    return math.ceil(end / DAY_SECONDS) * DAY_SECONDS


class LinkSigner:
    """Makes and checks links by one key."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 random bytes that nobody but the service has."""
        self._key = key

    def video(self, clip_id: str, expires: int) -> str:
        """The path and query of a link to a clip's video that works until `expires`, in seconds of Unix time."""
        query = urlencode({"expires": expires, "signature": self._signature(clip_id, str(expires))})
        return f"/media/clips/{quote(clip_id, safe='')}/video?{query}"

    def check_video(self, clip_id: str, expires: str, signature: str) -> float:
        """Check what a link to a clip's video brings; gives for how many seconds more it works.

        Raises:
            ProblemError: 403, it was not made by this service for this clip, or its time is over.
        """
        # Of a malformed number no signature is looked at, so there is one text for each moment.
        made = self._signature(clip_id, expires) if _EXPIRES.fullmatch(expires) else None
        if made is None or not _SIGNATURE.fullmatch(signature) or not hmac.compare_digest(made, signature):
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "link_invalid",
                "This link was not made by this service, or was changed since.",
                "Copy the link as a whole. If it was made before the service's database was exchanged, push the clips "
                "to the labelling tool again.",
            )
        left = int(expires) - time.time()
        if left <= 0:
            ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(expires)))
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "link_expired",
                f"This link worked until {ended}.",
                "Push the clips to the labelling tool again: their links are made anew.",
            )
        return left

    def _signature(self, clip_id: str, expires: str) -> str:
        # Unambiguous: what goes before an id holds no line end, and what follows it neither.
        message = f"clip video\n{clip_id}\n{expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
