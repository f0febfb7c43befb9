"""Takes a process's rights away, before it touches a file that may be hostile."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from motiontrace.answering.sandbox import landlock, seccomp

OPEN_FILES = 16


def confine(path: Path, *, memory_bytes: int, cpu_seconds: int) -> None:
    """From here on this process reads the file at `path` and computes, within its limits; there is no way back.

    It writes no file and dumps no core. Where the kernel allows, it opens no other file, has no network, starts no
    program or process, and signals no other. `memory_bytes` come on top of what it takes now.
    """
    with suppress(OSError):  # if the machine runs out of memory, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError, ValueError):  # no such file or limit but on Linux
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)
    _limit(resource.RLIMIT_CPU, cpu_seconds, grace=1)  # SIGXCPU, which can be told apart, and SIGKILL a second later
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    with suppress(OSError):  # a kernel, or a container, may refuse either
        if landlock.version():
            landlock.restrict(path)
    with suppress(OSError):
        if seccomp.available():
            seccomp.restrict()


def missing() -> list[str]:
    """Which of the kernel's confinements do not exist on this machine, by name."""
    there = {"Landlock": landlock.version() > 0, "a seccomp filter": seccomp.available()}
    return [name for name, is_there in there.items() if not is_there]


def _limit(what: int, most: int, grace: int = 0) -> None:
    """Set a resource's limit to `most`, or to the lower one that holds; nothing exceeds it by more than `grace`."""
    _, hard = resource.getrlimit(what)
    hard = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
    resource.setrlimit(what, (min(most, hard), hard))
