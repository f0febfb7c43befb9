"""Files that one process at a time holds."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.vectors.files import access_to


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a file that nobody else holds meanwhile; False where somebody does, and it is not waited for.

    The file is made, and is gone at the end. The end of a process gives it free, too, and leaves it to the next.

    Raises:
        CatalogError: the file system does not let it be taken.
    """
    with access_to(path):
        file = _lock(path)
    if file is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # still held: whoever has it open already sees below that it is another
        os.close(file)


def _lock(path: Path) -> int | None:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was unlinked between the two calls


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
