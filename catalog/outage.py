"""A trouble that lasts: told once and then at growing intervals, however often it is met, and once when it is over."""

import logging
import threading
import time
from collections.abc import Callable

FORGOTTEN_SECONDS = 600.0  # after the last time, where nobody says that it is over
FIRST_SECONDS, LONGEST_SECONDS = 10.0, 3600.0  # between two lines: each time twice as long
QUIET_SECONDS = 2.0  # without the trouble, until it is over: what comes and goes is one trouble


class Outage:
    """One kind of trouble of a process; safe to share between threads."""

    def __init__(self, log: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`what` begins each line, such as "the database"; `clock` gives seconds."""
        self._log, self._what, self._clock = log, what, clock
        self._lock = threading.Lock()
        self._began = self._last = self._tell_at = 0.0
        self._pause = FIRST_SECONDS
        self._times = 0  # that it was met since it began; 0: there is none

    def note(self, reason: str, error: BaseException | None = None) -> None:
        """The trouble was met; where there is an `error` the log has its traceback."""
        with self._lock:
            moment = self._clock()
            if not self._times or moment - self._last > FORGOTTEN_SECONDS:
                self._began = self._tell_at = moment
                self._pause, self._times = FIRST_SECONDS, 0
            self._last = moment
            self._times += 1
            if moment < self._tell_at:
                return
            since = f" ({self._times:,} times in {moment - self._began:,.0f} s)" if self._times > 1 else ""
            self._tell_at = moment + self._pause
            self._pause = min(2 * self._pause, LONGEST_SECONDS)
        self._log.error("%s: %s%s", self._what, reason, since, exc_info=error)

    def passed(self) -> None:
        """What it concerns has worked; once it has for some seconds, the trouble is over."""
        if not self._times:  # read without the lock: nearly always so
            return
        with self._lock:
            if not self._times or self._clock() - self._last < QUIET_SECONDS:
                return
            times, seconds = self._times, self._last - self._began
            self._times = 0
        self._log.info("%s: in order again, after %s failures in %s s", self._what, f"{times:,}", f"{seconds:,.0f}")
