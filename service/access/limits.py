"""How often a key may call: a token bucket for each, in this process."""

import time
from collections.abc import Callable


class RateLimiter:
    """Buckets by key. A full one holds a minute's requests, and it fills evenly; used from the event loop only.

    Each API process has its own: behind n of them a key may make n times as many requests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # by key: requests left, and when that was so

    def take(self, key_id: str, per_minute: int) -> float:
        """Take a request from the key's bucket; gives 0.0, or in how many seconds there is one again."""
        moment = self._clock()
        left, before = self._buckets.get(key_id, (float(per_minute), moment))
        left = min(float(per_minute), left + (moment - before) * per_minute / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / per_minute
        self._buckets[key_id] = (left if wait else left - 1, moment)
        return wait
