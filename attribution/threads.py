"""Threads that keep no process from ending: what one of them waits for, as a disk that is away, may never come."""

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
"""How long a stopped run waits for what its threads have in hand."""


class Threads:
    """Some threads that take work in its order; to be used as a context manager.

    At its end no more work is begun. What is in hand is waited for, where the end is an exception for
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
        """`work` of `given`, once a thread is free."""
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
    """`work` of `given`, done by a thread: whoever waits here can be stopped, whatever the work waits for."""
    with Threads(1) as thread:
        return thread.submit(work, given).result()
