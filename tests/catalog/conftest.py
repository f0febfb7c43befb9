from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from catalog import publishing
from catalog.database import Database, upgrade
from catalog.records import Record
from catalog.settings import CatalogSettings
from catalog.vectors import store as store_module
from tests.catalog import postgresql


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server with {} for the database's name."""
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.cluster() as socket:
        yield f"postgresql+psycopg://postgres@/{{}}?host={socket}"


@contextmanager
def postgresql_database(server: str, name: str) -> Iterator[str]:
    engine = create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    # Ordered as people do, a < B, not by code point: most databases are, and ids must not care.
    create = f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    with engine.connect() as connection:
        connection.execute(text(create))
    yield server.format(name)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """URL of a PostgreSQL database with the current schema, shared by the session's tests."""
    with postgresql_database(postgresql_server, "shared") as url:
        upgrade(url)
        yield url


@pytest.fixture
def settings(tmp_path: Path) -> CatalogSettings:
    return CatalogSettings(home=tmp_path / "home")


@pytest.fixture
def sqlite(settings: CatalogSettings) -> Iterator[Database]:
    """A SQLite database with the current schema."""
    upgrade(settings.url)
    database = Database.open(settings.url)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with the current schema and no rows, of either kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    database = Database.open(request.getfixturevalue("postgresql_url"))
    yield database
    with database.writing() as session:
        tables = ", ".join(Record.metadata.tables)
        session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, settings: CatalogSettings) -> Iterator[str]:
    """URL of an empty database of its own, of either kind."""
    if request.param == "sqlite":
        yield settings.url
        return
    with postgresql_database(request.getfixturevalue("postgresql_server"), "own") as url:
        yield url


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge often, into short segments."""
    monkeypatch.setattr(publishing, "SMALL_SEGMENTS", 4)
    monkeypatch.setattr(store_module, "SEGMENT_ROWS", 8)
