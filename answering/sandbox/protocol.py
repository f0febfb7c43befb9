"""What the service, the fork server and its children say to each other."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    # What every task returns: the result as JSON has it, and bytes beside it. Nothing has to be unpickled.
    Answer = tuple[Any, bytes | memoryview]

LENGTH = struct.Struct("!I")  # goes before a request, and before an answer's header
STARTED = b"s"
STATUS = struct.Struct("!i")  # as os.waitstatus_to_exitcode has it: negative is the signal


@dataclass(frozen=True)
class Request:
    """One call. It comes from the service, which is trusted, and is pickled; nothing else ever is."""

    function: Callable[..., Answer]
    """Of a module's top level; called with the path and the arguments by name."""
    path: Path
    arguments: dict[str, Any]
    memory_bytes: int
    cpu_seconds: int
