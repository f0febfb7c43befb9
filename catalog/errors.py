"""What can go wrong with stored things. Every message says what happened, where, and what to do."""

from pathlib import Path

RESTORE = "It was damaged: restore it from a backup, as docs/operations.md tells."
ELSEWHERE = "name a directory on a local disk with --home or MOTIONTRACE_HOME"
"""The way out where a file system will not do."""


class CatalogError(Exception):
    """Base of everything the catalog refuses; the message is written for the person at the terminal."""


class DatabaseMismatchError(CatalogError):
    """The database's schema is not the one this version of motiontrace works with."""


class DatabaseUnavailableError(CatalogError):
    """The database does not answer: it is stopped, locked, moved away, or has no connection left."""


class DatabaseFullError(DatabaseUnavailableError):
    """The database has no room to write."""


class DatabaseDamagedError(DatabaseUnavailableError):
    """What the database holds cannot be read."""


class IndexExistsError(CatalogError):
    """An index of that name exists already."""


class UnknownIndexError(CatalogError):
    """No index of that name."""


class StoreMissingError(CatalogError):
    """The directory holds no vector store."""


class StoreLockedError(CatalogError):
    """Another process is writing this vector store."""


class NoLocksError(CatalogError):
    """A file system has no locks, so nothing can be written there safely."""

    def __init__(self, path: Path, reason: str | None) -> None:
        """`reason` is the system's."""
        self.reason = reason
        super().__init__(
            f"{path} cannot be locked ({reason}): its file system has no locks, as NFS without lockd and Lustre "
            f"without the mount option flock. Mount it with locks, or {ELSEWHERE}."
        )


class StoreDamagedError(CatalogError):
    """A file of the vector store is missing, cut short, or does not match its checksum."""
