"""Landlock: from here on the process may open only the files given to it, for reading, and no other file or address.

Needs no rights. Linux has it from 5.13 on, unless switched off; what later versions add is used where it is there.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38
_READ_FILE = 1 << 2
# Version of the kernel's interface: how many rights over files, over TCP ports, and scopes (of abstract Unix sockets
# and signals) it knows. All that it knows is taken away.
_KNOWN = {1: (13, 0, 0), 2: (14, 0, 0), 3: (15, 0, 0), 4: (15, 2, 0), 5: (16, 2, 0), 6: (16, 2, 2)}


def version() -> int:
    """The kernel's version of Landlock; 0 where it has none or it is switched off."""
    return max(0, _libc().syscall(_CREATE_RULESET, None, 0, _VERSION)) if sys.platform == "linux" else 0


def restrict(path: Path) -> None:
    """Leave this thread nothing but reading the file at `path`, for good; if there is no such file, nothing.

    Raises:
        OSError: the kernel does not take it.
    """
    libc = _libc()
    files, ports, scopes = ((1 << count) - 1 for count in _KNOWN[min(version(), max(_KNOWN))])
    attributes = struct.pack("QQQ", files, ports, scopes)
    size = 24 if scopes else 16 if ports else 8
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, size, 0))
    try:
        # The place only: whether it may be read is up to its permissions, and opening a pipe would wait.
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        place = -1
    try:
        if place >= 0 and path.is_file():  # a rule on a folder would hold for all that lies in it
            _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", _READ_FILE, place), 0))
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
        if place >= 0:
            os.close(place)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return result
