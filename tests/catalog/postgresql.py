"""A PostgreSQL cluster of our own, for the length of the test session."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, insert, select, text

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.records import ClipRecord, EntryRecord, IndexRecord

# The newest installed.
BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("none"))


def why_not() -> str | None:
    """Say why no cluster can be started here, or None."""
    if not (BINARIES / "initdb").exists():
        return "PostgreSQL's binaries are not in /usr/lib/postgresql/*/bin"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    if os.geteuid() == 0 and not _has_user("postgres"):
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


@contextmanager
def cluster() -> Iterator[str]:
    """Start a cluster that listens on a socket only; gives the directory of the socket."""
    user = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="mt-pg-"))  # short: a socket's path has 107 bytes at most
    data = directory / "data"
    if user:
        shutil.chown(directory, user)

    def run(*command: str) -> None:
        # Its own log file: a server that inherited our pipes would keep them open.
        subprocess.run(command, check=True, user=user, cwd=directory, stdout=subprocess.DEVNULL)

    try:
        trusting = ("-A", "trust", "-U", "postgres", "--no-sync", "--locale=C", "--encoding=UTF8")
        run(f"{BINARIES}/initdb", "-D", str(data), *trusting)
        options = f"-F -c listen_addresses= -k {directory}"
        log = str(directory / "log")
        run(f"{BINARIES}/pg_ctl", "-D", str(data), "-o", options, "-l", log, "-w", "start")
        try:
            yield str(directory)
        finally:
            run(f"{BINARIES}/pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def database(server: str, name: str, template: str = "template0") -> Iterator[str]:
    """A database of that name on the server, `cluster`'s URL with {} for the name; gives its URL."""
    engine = create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    # Ordered as people do, a < B, not by code point: most databases are, and ids must not care.
    create = f"CREATE DATABASE {name} TEMPLATE {template} LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    with engine.connect() as connection:
        connection.execute(text(create))
    yield server.format(name)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def copy_catalog(source: Database, url: str) -> None:
    """Bring another database's clips, indexes and entries into an empty one."""
    upgrade(url)
    target = Database.open(url)
    with source.reading() as reading, target.writing() as writing:
        for record in (ClipRecord, IndexRecord, EntryRecord):
            rows = [dict(row) for row in reading.execute(select(record.__table__)).mappings()]
            writing.execute(insert(record.__table__), rows)
        writing.execute(text("SELECT setval('indexes_id_seq', (SELECT max(id) FROM indexes))"))
    target.close()


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
