"""One writer at a time: a lock that the operating system gives back when its holder dies."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from motiontrace.catalog.durable_files import access_to
from motiontrace.catalog.errors import NoLocksError, StoreLockedError

FILE_NAME = "writer.lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class WriterLock:
    """Held from construction to `release`, or to the end of the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Take the lock of a store; its directory is made where there is none.

        Raises:
            StoreLockedError: another writer holds it; names its process.
            NoLocksError: its file system has no locks.
            CatalogError: the file system does not let it be taken.
        """
        self._path = path = directory / FILE_NAME
        with access_to(path):
            file = None
            while file is None:
                directory.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # removed meanwhile, by the run that had made it
                    if (file := take(path)) is None:
                        holder = path.read_text(encoding="utf-8", errors="replace")[:200]
                        raise StoreLockedError(
                            f"Another process is writing the index in {directory} ({holder or 'unknown'}): wait until "
                            "it has ended, or stop it."
                        )
            self._file: int | None = file
            try:
                os.truncate(file, 0)
                os.pwrite(file, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
            except OSError:  # as where the volume is full
                self.release()
                raise

    def release(self) -> None:
        """Let the next writer in. Where nothing was stored, the lock and its directory are gone."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError):
            if list(self._path.parent.iterdir()) == [self._path]:
                self._path.unlink()  # still held: whoever has it open already sees that it is another, see `take`
                self._path.parent.rmdir()
        os.close(file)


def take(path: Path) -> int | None:
    """Lock a file, made where there is none, and give its descriptor, closed to let go; None: somebody holds it.

    Raises:
        NoLocksError: its file system has no locks.
        OSError: it cannot be made or opened.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            raise (NoLocksError(path, error.strerror) if error.errno in _NO_LOCKS else error) from error
        os.close(file)  # it was unlinked between the two calls


def check_record_locks(directory: Path, prefix: str) -> None:
    """See that files in a directory can be locked as SQLite locks them; tried on one of its own, gone afterwards.

    Raises:
        NoLocksError: they cannot.
        OSError: no file can be made there.
    """
    path = directory / f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise NoLocksError(directory, error.strerror) from error
    finally:
        os.close(file)
        path.unlink(missing_ok=True)


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
