"""What can go wrong with stored things. Every message says what happened, where, and what to do."""

RESTORE = "It was damaged: restore it from a backup, as docs/operations.md tells."


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


class StoreDamagedError(CatalogError):
    """A file of the vector store is missing, cut short, or does not match its checksum."""
