"""A seccomp filter: from here on the process may make the few system calls that decoding needs, and no other.

What is not on the list fails with EPERM: sockets, other programs, new processes and threads, signals to others,
tracing, mounts, io_uring, whatever a later kernel adds. Numbers are of x86-64 and of aarch64 (as linux/audit.h and
unistd.h have them).
"""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _AND, _IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # classic BPF
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALL = 0xFFFFFFFF
_CHANGES_FILES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # in the order of the numbers below

# The calls that are allowed, on x86-64 and on aarch64 (None: it has no such call).
_ALLOWED: dict[str, tuple[int, int | None]] = {
    "read": (0, 63), "pread64": (17, 67), "readv": (19, 65), "lseek": (8, 62), "close": (3, 57),
    "write": (1, 64), "writev": (20, 66), "dup": (32, 23), "getcwd": (79, 17),
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "poll": (7, None), "ppoll": (271, 73),
    "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214),
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "membarrier": (324, 283),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "getrandom": (318, 278), "sysinfo": (99, 179), "uname": (63, 160),
    "getpid": (39, 172), "gettid": (186, 178), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip

# Allowed if (argument & mask) == value. Call: its numbers, which argument, mask, value.
_ALLOWED_IF: dict[str, tuple[tuple[int, int | None], int, int, int]] = {
    "open": ((2, None), 1, _CHANGES_FILES, os.O_RDONLY),
    "openat": ((257, 56), 2, _CHANGES_FILES, os.O_RDONLY),
    "mmap": ((9, 222), 2, mmap.PROT_EXEC, 0),
    "mprotect": ((10, 226), 2, mmap.PROT_EXEC, 0),
    # Flags of a file, no more: F_SETOWN, F_SETSIG and O_ASYNC together would have the kernel kill another process.
    "fcntl": ((72, 25), 1, ~fcntl.F_GETFL & _ALL, fcntl.F_DUPFD),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL: 0 to 3
}
_TGKILL = (234, 131)


def available() -> bool:
    """Whether there is a filter for this kind of machine."""
    return sys.platform == "linux" and platform.machine() in _AUDIT


def restrict() -> None:
    """Apply the filter to this thread, for good; threads and programs started from it inherit it.

    Raises:
        OSError: the kernel does not take it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program(platform.machine(), os.getpid())
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    # Without new privileges no capability is needed, in a container either.
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)):
        if libc.prctl(*(value if isinstance(value, bytes) else ctypes.c_ulong(value) for value in arguments)):
            raise OSError(ctypes.get_errno(), "seccomp")


def _program(machine: str, process: int) -> bytes:
    """The filter in classic BPF, for a process of that id."""
    column = list(_AUDIT).index(machine)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for numbers in _ALLOWED.values():
        if (number := numbers[column]) is not None:
            steps += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    own_threads_only = (_TGKILL, 0, _ALL, process)  # abort() signals itself
    for numbers, argument, mask, value in [*_ALLOWED_IF.values(), own_threads_only]:
        if (number := numbers[column]) is not None:
            steps += [
                (_IF_EQUAL, 0, 5, number),
                (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),  # the lower half: both machines are little-endian
                (_AND, 0, 0, mask),
                (_IF_EQUAL, 0, 1, value),
                (_RETURN, 0, 0, _ALLOW),
                (_RETURN, 0, 0, _ERRNO | errno.EPERM),
            ]
    steps.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("HBBI", *step) for step in steps)  # struct sock_filter
