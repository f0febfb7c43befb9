"""One writer at a time: a lock that the operating system gives back when its holder dies."""

import fcntl
import os
import socket
from pathlib import Path

from catalog.errors import StoreLockedError
from catalog.vectors.files import access_to

FILE_NAME = "writer.lock"


class WriterLock:
    """Held from construction to `release`, or to the end of the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Take the lock of a store.

        Raises:
            StoreLockedError: another writer holds it; names its process.
            CatalogError: the file system does not let it be taken.
        """
        path = directory / FILE_NAME
        with access_to(path):
            self._file = path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                holder = self._file.read(200)
                self._file.close()
                raise StoreLockedError(
                    f"Another process is writing the index in {directory} ({holder or 'unknown'}): wait until "
                    "it has ended, or stop it."
                ) from None
            except OSError:
                self._file.close()
                raise
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        """Let the next writer in; the file stays, so that all writers lock the same one."""
        self._file.close()
