"""Working ahead in threads without losing the order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from motiontrace.attribution.threads import Threads

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(pool: Threads, work: Callable[[Given], Made], items: Iterable[Given], depth: int) -> Iterator[Made]:
    """`work` of each item, in the items' order, `depth` of them under way; raises what `work` raises."""
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
