"""Which protections are in force on this machine, found by trying to break them from inside."""

from __future__ import annotations

import mmap
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from motiontrace.answering.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from motiontrace.answering.sandbox.protocol import Answer

MEMORY_BYTES = 256 << 20
SECONDS = 10


def protections() -> dict[str, bool]:
    """Whether a decoding process is held back from each of these, by name; takes about a second.

    Raises:
        DecoderError: no such process can be started here.
    """
    sandbox = Sandbox(memory_bytes=MEMORY_BYTES, cpu_seconds=SECONDS, wall_seconds=SECONDS)
    try:
        with tempfile.NamedTemporaryFile() as file:
            found, _ = sandbox.call(attempt, Path(file.name))
    finally:
        sandbox.close()
    return {str(name): held is True for name, held in found.items()} if isinstance(found, dict) else {}


def attempt(path: Path) -> Answer:
    """In the child: what it is held back from."""
    return {
        "memory is limited": _fails(lambda: mmap.mmap(-1, 2 * MEMORY_BYTES), OSError),
        "no network": _fails(socket.socket, PermissionError),
        # Where it is allowed, there is no such program, which is another error.
        "no programs": _fails(lambda: os.execv("/nonexistent", ["nonexistent"]), PermissionError),
        "no processes": _fails(_fork, PermissionError),
        "no signals": _fails(lambda: os.kill(os.getpid(), 0), PermissionError),
        "no other files": _fails(lambda: os.close(os.open("/", os.O_RDONLY)), PermissionError),
        "no writing": _fails(lambda: os.close(os.open(path, os.O_RDWR)), PermissionError),
    }, b""


def _fails(action: Callable[[], object], how: type[OSError]) -> bool:
    try:
        action()
    except how:
        return True
    except OSError:
        return False
    return False


def _fork() -> None:
    if (process := os.fork()) == 0:
        os._exit(0)
    os.waitpid(process, 0)
