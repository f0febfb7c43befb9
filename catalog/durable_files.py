"""Files that are there whole or not at all, also after a power cut."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from motiontrace.catalog.errors import CatalogError

TEMPORARY = ".tmp"


def write_atomically(path: Path, pieces: Iterable[bytes]) -> None:
    """Write the pieces beside the file's place, make them durable, and move them there in one step.

    Raises:
        OSError: it cannot be written; names the file. What was at its place is as it was.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # of a write, which knows no name
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the directory's names durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_of(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written to or cut short: device, inode, size, time; None where there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def access_to(path: Path) -> Iterator[None]:
    """Say for people what the operating system refuses about a file or directory.

    Raises:
        CatalogError: names the file, the system's reason and what to check.
    """
    try:
        yield
    except OSError as error:
        raise CatalogError(
            f"{error.filename or path} cannot be used ({error.strerror or error}): check that this user may read "
            "and write it, and that its volume is mounted and has room."
        ) from error
