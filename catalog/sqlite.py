"""A catalog in a SQLite file: opened for writing, or only for reading where it cannot be written.

Read like that, nothing is written beside it either: no lock, no log, no shared memory.
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from motiontrace.catalog.errors import ELSEWHERE, CatalogError, NoLocksError
from motiontrace.catalog.vectors.lock import check_record_locks

BUSY_SECONDS = 30.0  # how long a writer waits for another one
_DERIVED = ("", "-wal", "-shm")  # the database, its log and the memory that processes share


def check_writable(file: Path) -> None:
    """See that a database can be written, or made, there: told at once, where SQLite tries for half a minute.

    Raises:
        NoLocksError: its file system has no locks.
        CatalogError: it cannot be written; says why, and the ways out.
    """
    ways = f"Write to it as a user who may, or {ELSEWHERE}. An index that is there can be queried as it is."
    for path in (file.parent, *(file.with_name(file.name + end) for end in _DERIVED)):
        if path.exists() and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            why = "its file system is read-only" if is_read_only(path) else "this user may not write it"
            raise CatalogError(f"The catalog {file} cannot be written ({path}: {why}). {ways}")
    try:
        check_record_locks(file.parent, f"{file.name}-probe-")
    except NoLocksError as error:
        raise NoLocksError(file, error.reason) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise CatalogError(f"The catalog {file} cannot be written ({file.parent}: {why}). {ways}") from error


def is_read_only(path: Path) -> bool:
    """Tell whether the file system of a path that is there takes no writing, whoever writes."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def sqlite_engine(url: URL, file: Path, options: dict[str, Any], *, create: bool, read_only: bool) -> Engine:
    """Reach a database file.

    Args:
        url: of the database.
        file: that it is in.
        options: of the engine.
        create: make it where there is none.
        read_only: it cannot be written: read it as it is.
    """
    if read_only:
        engine = create_engine(url, creator=lambda: _connect_to_read(file), **options)
    else:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **options)

    @event.listens_for(engine, "do_connect")
    def see(*_: Any) -> None:
        if not create and not file.exists():  # SQLite would make an empty one
            raise sqlite3.OperationalError("the file is not there")

    @event.listens_for(engine, "checkout")
    def see_again(_: Any, record: Any, __: Any) -> None:
        # A connection keeps a file that was moved away: what it wrote there nobody would find.
        if record.info["file"] != _identity(file):
            raise DisconnectionError("the file was moved away or replaced")

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        record.info["file"] = _identity(file)
        connection.isolation_level = None  # transactions begin where `begin` below says, not the driver
        if not read_only:
            _use_write_ahead_log(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        # SQLite's own lower() knows ASCII only, and captions are searched in any case.
        connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        writes = options.get("motiontrace_writes", False)
        if writes and read_only:
            check_writable(file)  # says why it is not
        if writes:
            # FULL: a commit survives a power cut, and vectors are published only after their commit.
            durable = options.get("motiontrace_durable", True)
            connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """Connect to a file that cannot be written.

    Its log, where a writer has left one or has it open, is read as well, which takes locks. Without one the file is
    taken for immutable: nothing is locked, which where there are no locks could not be done.

    Raises:
        CatalogError: its log can be read only after it was written, as that of a writer that was killed and copied.
    """
    log = file.with_name(f"{file.name}-wal")
    immutable = not log.exists() or not log.stat().st_size
    if not immutable and not file.with_name(f"{file.name}-shm").exists():
        raise CatalogError(
            f"The catalog {file} cannot be read where it cannot be written: {log.name} holds what a stopped writer has "
            "not merged. Run `motiontrace migrate` on the folder where it can be written, or on a copy of all of it."
        )
    address = f"file:{quote(str(file))}?mode=ro{'&immutable=1' * immutable}"
    return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)


def _identity(file: Path) -> tuple[int, int] | None:
    """Tell a file from another of its name; None where there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Turn the log on, waiting for others who do: SQLite's own timeout does not cover this one statement."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
