"""Databases by their URLs, and what people are told of one that does not answer."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionError

from motiontrace.catalog.errors import (
    ELSEWHERE,
    RESTORE,
    CatalogError,
    DatabaseDamagedError,
    DatabaseFullError,
    DatabaseUnavailableError,
)

FORMS = "sqlite:////absolute/path/FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, "53100"})  # the last is PostgreSQL's
_CHECK = "check that it is a SQLite database, that this user may write it, and that its volume has room"
_SQLITE = {
    sqlite3.SQLITE_BUSY: "another process is writing it, and has been for a while; wait until it has ended, or stop it",
    sqlite3.SQLITE_PERM: "check the permissions of it and of its directory",
    sqlite3.SQLITE_READONLY: "check that this user may write it and its directory",
    sqlite3.SQLITE_IOERR: "check the disk, and that its volume is mounted",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; name the right one with --home or MOTIONTRACE_DATABASE_URL",
}
_SHARED_MEMORY = {sqlite3.SQLITE_IOERR | extended << 8 for extended in (18, 19, 20, 21)}  # SQLITE_IOERR_SHM...
_TAKEN_BACK = "40"  # PostgreSQL's class of errors after which the same transaction may succeed


def parsed(url: str) -> URL:
    """Read a database URL; raises CatalogError where it is none."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # Its text is not shown, nor the cause, which quotes it: where it is misread nobody knows what is the password.
        raise CatalogError(f"The database URL cannot be read: write {FORMS}.") from None


def file_of(url: URL) -> Path | None:
    """Give the file of a SQLite database, None for another one."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise CatalogError(f"The database {shown(url)} has no file: write sqlite:////absolute/path/catalog.db.")
    return Path(url.database)


@contextmanager
def reaching(url: URL) -> Iterator[None]:
    """Say of a database that cannot be used which it is, why, and what to check."""
    try:
        yield
    except DBAPIError as error:
        raise told(url, error) or _unusable(url, error) from error
    except UnicodeDecodeError as error:
        raise unreadable(url) from error


def unreadable(url: URL) -> DatabaseDamagedError:
    """For what SQLite says of its own file in words that are no text."""
    return DatabaseDamagedError(f"The database {shown(url)} cannot be read (its schema is no text). {RESTORE}")


def passes(error: SQLAlchemyError) -> bool:
    """Whether it is no trouble of the database: a transaction met another one, and has to be done again."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None)).startswith(_TAKEN_BACK)


def told(url: URL, error: SQLAlchemyError) -> DatabaseUnavailableError | None:
    """What people are told of a database that does not answer; None where the fault is not the database's."""
    if isinstance(error, NoConnectionError):
        return DatabaseUnavailableError(
            f"All connections to the database {shown(url)} are in use, and none came free: try again later."
        )
    if not isinstance(error, DBAPIError) or not _is_of_database(error):
        return None
    code = getattr(error.orig, "sqlite_errorcode", None) or getattr(error.orig, "sqlstate", None)
    primary = code & 0xFF if isinstance(code, int) else code  # SQLite's extended codes have it in their last byte
    if primary == sqlite3.SQLITE_CORRUPT or "decode to UTF-8" in _cause(error):
        return DatabaseDamagedError(f"The database {shown(url)} cannot be read ({_cause(error)}). {RESTORE}")
    if code in _FULL or primary in _FULL:
        return DatabaseFullError(
            f"The database {shown(url)} cannot be written ({_cause(error)}): make room on its volume."
        )
    return _unusable(url, error)


def _unusable(url: URL, error: DBAPIError) -> DatabaseUnavailableError:
    if file_of(url) is None:
        todo = "check the host, name, user and password in MOTIONTRACE_DATABASE_URL, and that the server is running"
    elif getattr(error.orig, "sqlite_errorcode", 0) in _SHARED_MEMORY:
        todo = f"its file system has no memory that processes share, as many of the network; {ELSEWHERE}"
    else:
        todo = _SQLITE.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF, _CHECK)
    return DatabaseUnavailableError(f"The database {shown(url)} cannot be used ({_cause(error)}): {todo}.")


def _is_of_database(error: DBAPIError) -> bool:
    """Whether it is no fault of a statement; SQLite's word for damage is the base class of them all."""
    return isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DatabaseError


def _cause(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())


def shown(url: URL) -> str:
    """Write a URL for people: without the password, and without the query, where one may be as well."""
    return url.set(query={}).render_as_string(hide_password=True)
