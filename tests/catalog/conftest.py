from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from motiontrace.catalog import publishing
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.records import Record
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import store as store_module
from tests.catalog.postgresql import database as postgresql_database


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
