"""Daemon threads: a process can end while one of them waits, for instance for a disk that is away."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Given = TypeVar("Given")
Made = TypeVar("Made")

GRACE_SECONDS = 3.0
"""Seconds for which a stopped run waits for its threads to finish what they have begun."""


class Threads:
    """A pool of threads that take work in order; used as a context manager.

    On leaving, no more work is begun, and work in progress is waited for. After an exception the wait is
    `GRACE_SECONDS` at most.
    """

    def __init__(self, count: int) -> None:
        """`count`: how many threads, 1 or more."""
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended = False
        self._threads = [threading.Thread(target=self._run, name=f"ahead-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._ended = True
        for _ in self._threads:
            self._work.put(None)
        until = None if kind is None else time.monotonic() + GRACE_SECONDS
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def submit(self, work: Callable[[Given], Made], given: Given) -> Future[Made]:
        """Runs `work` on `given` once a thread is free."""
        future: Future[Made] = Future()

        def run() -> None:
            if self._ended or not future.set_running_or_notify_cancel():
                future.cancel()
                return
            try:
                future.set_result(work(given))
            except BaseException as error:
                future.set_exception(error)

        self._work.put(run)
        return future

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def interruptibly(work: Callable[[Given], Made], given: Given) -> Made:
    """Runs `work` on `given` in a thread, so that the caller can be interrupted even where the work cannot."""
    with Threads(1) as thread:
        return thread.submit(work, given).result()
