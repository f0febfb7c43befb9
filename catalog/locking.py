"""Files that one process at a time holds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motiontrace.catalog.durable_files import access_to
from motiontrace.catalog.vectors.lock import take


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a file that nobody else holds meanwhile; False where somebody does, and it is not waited for.

    The file is made, and is gone at the end. The end of a process gives it free, too, and leaves it to the next.

    Raises:
        NoLocksError: its file system has no locks.
        CatalogError: the file system does not let it be taken.
    """
    with access_to(path):
        file = take(path)
    if file is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # still held: whoever has it open already sees that it is another, see `take`
        os.close(file)
