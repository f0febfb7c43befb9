"""What tests run in a confined process: code as a file might have it run that has taken a decoder over."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from motiontrace.answering.sandbox.protocol import Answer


PTRACE_ATTACH, IO_URING_SETUP = 16, 425


def sleep(path: Path) -> Answer:
    time.sleep(600)
    return None, b""


def compute_for_ever(path: Path) -> Answer:
    while True:
        pass


def take_memory(path: Path, size: int) -> Answer:
    return len(bytearray(size)), b""


def end(path: Path, how: str) -> Answer:
    match how:
        case "segmentation fault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "nameless signal":
            signal.pthread_kill(threading.get_ident(), 40)
        case "exit":
            os._exit(0)
    raise ZeroDivisionError("as a library's bug would")


def send(path: Path, answer: bytes, linger: bool = False) -> Answer:
    """Answer with these bytes and nothing else; `linger` on without answering more."""
    os.write(3, answer)
    if linger:
        os.close(3)
        time.sleep(600)
    os._exit(0)


def environment(path: Path) -> Answer:
    return dict(os.environ), b""


def zeros(path: Path, size: int) -> Answer:
    return None, bytes(size)


def open_files(path: Path) -> Answer:
    found = []
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found, b""


def try_to_escape(path: Path, other: str, port: int, victim: int) -> Answer:
    """For each way out: how it ends, as the error's name."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), "")

    def thread() -> None:
        try:
            threading.Thread(target=lambda: None).start()
        except RuntimeError as error:  # all that Python says of it
            raise PermissionError from error

    ways: dict[str, Callable[[], object]] = {
        "read the file": path.read_bytes,
        "start a thread": thread,
        "socket": lambda: socket.create_connection(("127.0.0.1", port)),
        "socket pair": socket.socketpair,
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "fork": os.fork,
        "read another file": Path(other).read_bytes,
        "read a file of the system": Path("/proc/self/environ").read_bytes,
        "list a folder": lambda: list(path.parent.iterdir()),
        "write the file": lambda: os.open(path, os.O_RDWR),
        "truncate the file": lambda: os.truncate(path, 0),
        "make a file": lambda: os.open(path.parent / "new", os.O_WRONLY | os.O_CREAT),
        "remove the file": path.unlink,
        "rename the file": lambda: path.rename(path.parent / "new"),
        "change its permissions": lambda: path.chmod(0o777),
        "link it": lambda: os.link(path, path.parent / "new"),
        "kill": lambda: os.kill(victim, signal.SIGKILL),
        "have the kernel kill": lambda: fcntl.fcntl(3, fcntl.F_SETOWN, victim),  # by the signal of a ready file
        "map executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
        "ptrace": lambda: checked(libc.ptrace(PTRACE_ATTACH, victim, None, None)),
        "read another process": lambda: checked(libc.process_vm_readv(victim, None, 0, None, 0, 0)),
        "io_uring": lambda: checked(libc.syscall(IO_URING_SETUP, 1, bytes(120))),
        "more files": lambda: [os.open(path, os.O_RDONLY) for _ in range(64)],
    }
    return {name: _outcome(way) for name, way in ways.items()}, b""


def _outcome(way: Callable[[], object]) -> str:
    try:
        way()
    except OSError as error:
        return type(error).__name__
    return "done"
