"""Looking at a file before it is read: what is no regular file, or holds nothing, is refused without being opened.

Opening a named pipe waits for its writer, a device may never end, and a folder fails halfway. `check_file` tells
them apart by their status alone. Everything that reads or hashes a file that a user names goes through here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from io import BufferedReader

FileProblem = Literal["missing", "folder", "not_a_file", "empty", "too_large", "unreadable"]

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no fault of the file


class FileError(OSError):
    """A path names nothing that can be read as a file.

    Attributes:
        code: a word for programs.
        path: what was looked at, as it was given.
        reason: what is wrong with it, to be read behind its name: "is empty". It names no other path, so that it may
            be shown where paths are not.
    """

    def __init__(self, code: FileProblem, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)} {reason}")
        self.code: FileProblem = code
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[FileError], tuple[FileProblem, Path, str]]:
        return FileError, (self.code, self.path, self.reason)


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` or `~user` spelled out; as it is where nobody knows that home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises RuntimeError there


def check_file(path: str | os.PathLike[str], *, empty: bool = False, most_bytes: int | None = None) -> os.stat_result:
    """The status of a regular file, links followed. Nothing is opened, so nothing waits.

    Args:
        path: of a file that is about to be read.
        empty: an empty file will do.
        most_bytes: a larger file is refused; None takes any size.

    Raises:
        FileError: it is missing, a folder, a pipe, device or socket, empty, too large, or may not be read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a path may be given as text
    except OSError as error:
        raise _refused(path, error) from error
    except ValueError as error:  # a null character, or half of a surrogate pair
        raise FileError("missing", path, "cannot be the name of a file") from error
    _check_status(path, status, empty, most_bytes)
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise FileError("unreadable", path, "may not be read: check its permissions")
    return status


def open_file(path: str | os.PathLike[str], *, empty: bool = False, most_bytes: int | None = None) -> BufferedReader:
    """A regular file, opened for reading bytes; whatever takes its place meanwhile is not waited for either.

    Raises:
        FileError: as `check_file`.
        OSError: there is no room for another open file.
    """
    check_file(path, empty=empty, most_bytes=most_bytes)
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise _refused(path, error) from error
    try:
        _check_status(path, os.fstat(opened), empty, most_bytes)
    except FileError:
        os.close(opened)
        raise
    return os.fdopen(opened, "rb")


def read_file(path: str | os.PathLike[str], *, empty: bool = False, most_bytes: int | None = None) -> bytes:
    """All of a small file. Raises FileError as `check_file` does, and OSError where reading fails."""
    with open_file(path, empty=empty, most_bytes=most_bytes) as stream:
        return stream.read()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, hex. Raises FileError as `check_file` does, and OSError where reading fails."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_status(path: str | os.PathLike[str], status: os.stat_result, empty: bool, most_bytes: int | None) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise FileError("folder", path, "is a folder, not a file")
    if kind != stat.S_IFREG:
        raise FileError("not_a_file", path, f"is {_KINDS.get(kind, 'something else')}, not a file")
    if not status.st_size and not empty:
        raise FileError("empty", path, "is empty (0 bytes)")
    if most_bytes is not None and status.st_size > most_bytes:
        raise FileError("too_large", path, f"has {status.st_size:,} bytes; at most {most_bytes:,} are read")


def _refused(path: str | os.PathLike[str], error: OSError) -> FileError:
    """What an error of the system says of a path."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            broken = Path(path).is_symlink()
            return FileError("missing", path, f"{'is a link to a file that does' if broken else 'does'} not exist")
        case errno.ELOOP:
            return FileError("missing", path, "is a link that leads back to itself")
        case errno.ENAMETOOLONG:
            return FileError("missing", path, "cannot be the name of a file: it is too long")
        case errno.EACCES | errno.EPERM:
            return FileError("unreadable", path, "may not be read: check its permissions and those of its folders")
        case _:
            return FileError("unreadable", path, f"cannot be read: {error.strerror}")
