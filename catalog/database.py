"""The database: how it is opened, when it is written, and how its schema is brought up to date."""

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from motiontrace.catalog.durable_files import access_to
from motiontrace.catalog.errors import (
    RESTORE,
    CatalogError,
    DatabaseDamagedError,
    DatabaseMismatchError,
    DatabaseUnavailableError,
)
from motiontrace.catalog.installing import how_to_install
from motiontrace.catalog.locking import held
from motiontrace.catalog.outage import Outage
from motiontrace.catalog.sqlite import check_writable, sqlite_engine
from motiontrace.catalog.trouble import FORMS, file_of, parsed, passes, reaching, shown, told, unreadable

CONNECT_SECONDS = 10
_MIGRATION_LOCK = 0x6D6F74696F6E  # any number that every motiontrace agrees on
_COMMON: dict[str, Any] = {
    "json_deserializer": lambda text: _read_json(text),
    "json_serializer": partial(json.dumps, allow_nan=False),  # NaN is no JSON: PostgreSQL and clients refuse it
    "hide_parameters": True,  # errors end in logs, and parameters are captions and prompts
}
log = logging.getLogger(__name__)


class Database:
    """An open catalog database, SQLite or PostgreSQL; safe to share between threads.

    Sessions come in two kinds. On SQLite a writing one takes the write lock at its start: a transaction
    that reads first and writes later would otherwise fail whenever another process wrote in between. A reading
    one sees a single state of the database, which PostgreSQL has to be told.
    Records stay usable after their session has ended.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """`read_only`: a SQLite file that cannot be written; nothing is written beside it either."""
        self.engine = _engine(parsed(url), read_only=read_only)
        reading = self.engine
        if reading.dialect.name == "postgresql":
            reading = reading.execution_options(isolation_level="REPEATABLE READ")
        writing = self.engine.execution_options(motiontrace_writes=True)
        self._readers = sessionmaker(reading, expire_on_commit=False)
        self._writers = sessionmaker(writing, expire_on_commit=False)
        quick = writing.execution_options(motiontrace_durable=False)
        self._quick_writers = sessionmaker(quick, expire_on_commit=False)
        # SQLite lets a second writer try again after sleeps that grow to 0.1 s: threads had better stand in line.
        self._turn = threading.RLock() if reading.dialect.name == "sqlite" else nullcontext()
        self._outage = Outage(log, "the database does not answer")
        self._names: set[str] = set()  # held by threads of this process, see `alone`
        self._names_lock = threading.Lock()

    @classmethod
    def open(cls, url: str, *, reading: bool = False) -> "Database":
        """Open a database whose schema is current.

        Args:
            url: of the database.
            reading: whoever opens it does without writing. A SQLite file that cannot be written, or locked, is then
                read as it is; else that is told at once.

        Raises:
            NoLocksError: its file system has no locks.
            DatabaseMismatchError: the schema is missing, older or newer than this version's; says what to do.
            CatalogError: there is none, it cannot be reached, or the URL cannot be used.
        """
        place = parsed(url)
        # SQLite would make an empty one.
        if (file := file_of(place)) is not None and not file.exists():
            raise CatalogError(
                f"There is no catalog at {file}: make one with `motiontrace index`, or name the right directory "
                "with MOTIONTRACE_HOME."
            )
        database = cls(url, read_only=file is not None and not _writable(file, reading))
        try:
            with reaching(place), database.engine.connect() as connection:
                found, head = _revisions(connection)
            if found != head:
                raise DatabaseMismatchError(
                    f"The database {shown(place)} is {'empty' if found is None else f'at revision {found}'}, this "
                    f"motiontrace needs revision {head}: upgrade it with `motiontrace migrate`."
                )
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads; all it reads is of one moment, that of its first statement.

        Raises:
            DatabaseUnavailableError: it does not answer; the log tells of it, once and then at growing intervals.
        """
        with self._answering(), self._readers() as session:
            yield session

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Session]:
        """Open a transaction: committed at the end of the block, undone if the block raises.

        Without `durable` nobody waits for the disk: a power cut may take the commit back, the end of a process may not.

        Raises:
            DatabaseUnavailableError: it does not answer, or takes nothing; the log tells of it as in `reading`.
        """
        with self._answering(), self._turn, (self._writers if durable else self._quick_writers).begin() as session:
            yield session

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Hold a name that nobody else can hold meanwhile; False where somebody does, and it is not waited for.

        Others are the threads of this process, and all processes that use the database. The end of a process, and the
        loss of its connection, give the name free.
        """
        with self._names_lock:
            free = name not in self._names
            self._names.add(name)
        if not free:
            yield False
            return
        try:
            with self._alone_in_database(name) as alone:
                yield alone
        finally:
            self._names.discard(name)

    @contextmanager
    def _alone_in_database(self, name: str) -> Iterator[bool]:
        if (file := file_of(self.engine.url)) is not None:
            digest = hashlib.sha256(name.encode()).hexdigest()[:16]
            with held(file.with_name(f"{file.name}-alone-{digest}")) as free:
                yield free
            return
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        with self._answering(), self.engine.begin() as connection:  # idle until its end, which gives the lock free
            yield bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}))

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnavailableError as error:  # what it holds cannot be read
            self._outage.note(str(error))
            raise
        except SQLAlchemyError as error:
            trouble = told(self.engine.url, error)
            if trouble is None:
                raise
            if not passes(error):
                self._outage.note(str(trouble))
            raise trouble from error
        except UnicodeDecodeError as error:
            self._outage.note(str(damaged := unreadable(self.engine.url)))
            raise damaged from error
        else:
            self._outage.passed()


def upgrade(url: str) -> str:
    """Create the schema, or bring it up to this version's revision, and give that; harmless where it is current.

    Processes that start together wait for one another.

    Raises:
        DatabaseMismatchError: a newer motiontrace has written this database.
        CatalogError: it cannot be reached, or the URL cannot be used.
    """
    place = parsed(url)
    if (file := file_of(place)) is not None:
        with access_to(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        check_writable(file)
    engine = _engine(place, create=True)
    try:
        with reaching(place), engine.execution_options(motiontrace_writes=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            found, head = _revisions(connection)
            if found != head:
                config = _alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            return head
    finally:
        engine.dispose()


def _engine(url: URL, *, create: bool = False, read_only: bool = False) -> Engine:
    """Reach a database; a SQLite file that is not there is made where `create` says so."""
    if (file := file_of(url)) is not None:
        return sqlite_engine(url, file, _COMMON, create=create, read_only=read_only)
    if url.get_backend_name() != "postgresql":
        raise CatalogError(f"The database {shown(url)} cannot be used: write {FORMS}.")
    try:
        # Not for ever, where a host is gone without a word.
        patience = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
        engine = create_engine(url, pool_pre_ping=True, connect_args=patience, **_COMMON)
    except (ImportError, NoSuchModuleError) as error:
        raise CatalogError(
            f"The driver for {shown(url)} is not installed ({error}): {how_to_install('psycopg')}, "
            "and write the URL as postgresql+psycopg://USER:PASSWORD@HOST/NAME."
        ) from error

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("motiontrace_durable", True):
            connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")

    return engine


def _writable(file: Path, reading: bool) -> bool:
    try:
        check_writable(file)
    except CatalogError:
        if not reading:
            raise
        return False
    return True


def _read_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DatabaseDamagedError(f"The database holds text that is no JSON ({error}). {RESTORE}") from error


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", "motiontrace.migrations:")
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
            f"The database {shown(connection.engine.url)} is at revision {found}, which this motiontrace (revision "
            f"{head}) does not know: a newer version has written it. Install that version, or name another "
            "database with MOTIONTRACE_DATABASE_URL."
        )
    return found, head
