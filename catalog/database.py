"""The database: how it is opened, when it is written, and how its schema is brought up to date."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker

from catalog.errors import CatalogError, DatabaseMismatchError

BUSY_SECONDS = 30.0  # how long a SQLite writer waits for another one
_MIGRATION_LOCK = 0x6D6F74696F6E  # any number that every motiontrace agrees on
_strict_json = partial(json.dumps, allow_nan=False)  # NaN is no JSON: PostgreSQL and clients refuse it


class Database:
    """An open catalog database, SQLite or PostgreSQL; safe to share between threads.

    Sessions come in two kinds. On SQLite a writing one takes the write lock at its start: a transaction
    that reads first and writes later would otherwise fail whenever another process wrote in between.
    Records stay usable after their session has ended.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        writing = self.engine.execution_options(motiontrace_writes=True)
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(writing, expire_on_commit=False)

    @classmethod
    def open(cls, url: str) -> "Database":
        """Open a database whose schema is current.

        Raises:
            DatabaseMismatchError: the schema is missing, older or newer than this version's; says what to do.
            CatalogError: the URL cannot be used.
        """
        database = cls(url)
        try:
            with database.engine.connect() as connection:
                found, head = _revisions(connection)
            if found != head:
                raise DatabaseMismatchError(
                    f"The database {_shown(url)} is {'empty' if found is None else f'at revision {found}'}, this "
                    f"motiontrace needs revision {head}: upgrade it first, as `motiontrace index` and "
                    "`motiontrace serve` do when they start."
                )
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads; it sees one consistent state on SQLite."""
        with self._readers() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction: committed at the end of the block, undone if the block raises."""
        with self._writers.begin() as session:
            yield session

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def upgrade(url: str) -> None:
    """Create the schema, or bring it up to this version's revision; harmless where it is current.

    Processes that start together wait for one another.

    Raises:
        DatabaseMismatchError: a newer motiontrace has written this database.
        CatalogError: the URL cannot be used.
    """
    engine = _engine(url)
    try:
        with engine.execution_options(motiontrace_writes=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            found, head = _revisions(connection)
            if found != head:
                config = _alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(url)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(url, pool_pre_ping=True, json_serializer=_strict_json)
    except (ArgumentError, NoSuchModuleError) as error:
        raise CatalogError(f"The database URL {url!r} cannot be read: {error}.") from error
    except ImportError as error:
        raise CatalogError(
            f"The driver for {_shown(url)} is not installed ({error}): pip install 'motiontrace[postgres]', "
            "and write the URL as postgresql+psycopg://USER:PASSWORD@HOST/NAME."
        ) from error
    raise CatalogError(
        f"The database {_shown(url)} is neither SQLite (sqlite:///FILE) nor "
        "PostgreSQL (postgresql+psycopg://USER:PASSWORD@HOST/NAME)."
    )


def _sqlite(url: str) -> Engine:
    file = make_url(url).database
    if not file or file == ":memory:":
        raise CatalogError(f"The database {url!r} has no file: write sqlite:////absolute/path/catalog.db.")
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, json_serializer=_strict_json)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says, not the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        # FULL: a commit survives a power cut, and vectors are published only after their commit.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("motiontrace_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.set_main_option("path_separator", "os")
    return config


def _revisions(connection: Connection) -> tuple[str | None, str]:
    """Find the revision of the database (None: empty) and this version's; refuse one from the future."""
    scripts = ScriptDirectory.from_config(_alembic_config())
    head = scripts.get_current_head()
    assert head is not None
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise DatabaseMismatchError(
            f"The database {connection.engine.url} is at revision {found}, which this motiontrace (revision "
            f"{head}) does not know: a newer version has written it. Install that version, or name another "
            "database with MOTIONTRACE_DATABASE_URL."
        )
    return found, head


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
