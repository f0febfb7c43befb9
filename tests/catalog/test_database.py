import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from motiontrace.catalog import database as module
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.errors import CatalogError, DatabaseMismatchError
from motiontrace.catalog.records import ClipRecord, EntryRecord, IndexRecord, Record, now
from motiontrace.catalog.repositories import ClipRepository, ClipRow, IndexRepository
from motiontrace.catalog.settings import CatalogSettings


def stored(session: Session) -> int:
    return len(ClipRepository(session).page(limit=100).items)


def test_the_migrations_make_the_schema_of_the_records(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Record.metadata) == []
        made = {name for name in inspect(connection).get_table_names() if name != "alembic_version"}
        checks = {check["name"] for table in made for check in inspect(connection).get_check_constraints(table)}
    assert made == set(Record.metadata.tables)
    assert checks == {
        "ck_entries_outcome",
        "ck_entries_segment",
        "ck_labels_decision",
        "ck_queries_lease",
        "ck_queries_outcome",
        "ck_queries_status",
        "ck_queries_subject",
    }


def test_the_migrations_can_be_undone(empty_url: str) -> None:
    upgrade(empty_url)
    database = Database.open(empty_url)
    config = module._alembic_config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
    database.close()


def test_upgrading_twice_or_at_the_same_time_is_harmless(empty_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(upgrade, empty_url) for _ in range(3)]:
            done.result()
    Database.open(empty_url).close()


def test_an_empty_database_is_not_opened(empty_url: str, settings: CatalogSettings) -> None:
    if empty_url == settings.url:
        settings.home.mkdir()
        (settings.home / "catalog.db").touch()
    with pytest.raises(DatabaseMismatchError, match="is empty, this motiontrace needs revision"):
        Database.open(empty_url)


def test_a_database_from_a_newer_version_is_refused_with_advice(empty_url: str) -> None:
    upgrade(empty_url)
    database = Database.open(empty_url)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    for refused in (upgrade, Database.open):
        with pytest.raises(DatabaseMismatchError, match=r"revision 9999, .* a newer version has written it"):
            refused(empty_url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "has no file"),
        ("mysql://u:secret@localhost/x", "write sqlite:////"),
        ("nonsense", "cannot be read"),
        ("secret:nonsense", "cannot be read"),
        ("postgresql://u:with:secret@h:secret/x", "cannot be read"),
        ("postgresql+psycopg2://u:secret@h/x?password=secret", r"postgresql\+psycopg://"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write(url: str, says: str) -> None:
    with pytest.raises(CatalogError, match=says) as caught:
        Database(url)
    assert "secret" not in str(caught.value)


def test_a_missing_sqlite_file_is_said_and_not_made(settings: CatalogSettings) -> None:
    with pytest.raises(CatalogError, match=r"no catalog at .*catalog\.db: make one with `motiontrace index`"):
        Database.open(settings.url)
    assert not settings.home.exists()


@pytest.mark.parametrize("use", [upgrade, Database.open])
def test_a_file_that_is_no_database_is_said(settings: CatalogSettings, use: Callable[[str], object]) -> None:
    settings.home.mkdir()
    (settings.home / "catalog.db").write_bytes(b"no database" * 100)
    with pytest.raises(CatalogError, match=r"catalog\.db cannot be used \(file is not a database\): it is no"):
        use(settings.url)


@pytest.mark.parametrize("use", [upgrade, Database.open])
def test_a_server_that_does_not_answer_is_said_without_the_password(use: Callable[[str], object]) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://u:secret@127.0.0.1:1/x?password=secret"
    with pytest.raises(CatalogError, match=r"127\.0\.0\.1:1/x cannot be used .* the server is running") as caught:
        use(url)
    assert "secret" not in str(caught.value)


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match=r"cannot be used .*: check that this user may"):
        upgrade(CatalogSettings(home=tmp_path / "file" / "home").url)


def test_a_reading_session_sees_one_moment(database: Database) -> None:
    with database.reading() as reading:
        assert stored(reading) == 0
        with database.writing() as session:
            ClipRepository(session).upsert([ClipRow(id="a", path="/a", caption="")])
        assert stored(reading) == 0
    with database.reading() as reading:
        assert stored(reading) == 1


def test_sqlite_is_set_up_for_durability_and_many_readers(sqlite: Database) -> None:
    with sqlite.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30_000}


def test_a_block_that_raises_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(RuntimeError), database.writing() as session:
        ClipRepository(session).upsert([ClipRow(id="a", path="/a", caption="")])
        raise RuntimeError
    with database.reading() as session:
        assert stored(session) == 0


def test_writers_that_read_first_wait_for_one_another(settings: CatalogSettings) -> None:
    upgrade(settings.url)
    start = threading.Barrier(4)

    def add(number: int) -> None:
        database = Database.open(settings.url)
        start.wait()
        for _ in range(5):
            with database.writing() as session:
                row = ClipRow(id=f"{number}-{stored(session)}", path="/x", caption="")
                ClipRepository(session).upsert([row])
        database.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(add, number) for number in range(4)]:
            done.result()
    database = Database.open(settings.url)
    with database.reading() as session:
        assert stored(session) == 20
    database.close()


def test_a_name_is_held_by_one_at_a_time_and_free_again_whatever_happens(database: Database) -> None:
    with database.alone("one") as first, database.alone("one") as second, database.alone("other") as other:
        assert (first, second, other) == (True, False, True)
    with pytest.raises(ZeroDivisionError), database.alone("one") as held:
        assert held
        raise ZeroDivisionError
    with database.alone("one") as again:
        assert again


def test_a_name_is_held_against_other_processes_too(empty_url: str) -> None:
    upgrade(empty_url)
    database, of_another_process = Database.open(empty_url), Database.open(empty_url)
    with database.alone("one") as first, of_another_process.alone("one") as second:
        assert (first, second) == (True, False)
    with of_another_process.alone("one") as held:
        assert held
    for each in (database, of_another_process):
        each.close()


def test_on_sqlite_a_process_that_is_killed_gives_its_names_free_and_no_file_stays(sqlite: Database) -> None:
    url = sqlite.engine.url.render_as_string()
    hold = (
        "import sys; from motiontrace.catalog.database import Database\n"
        "with Database.open(sys.argv[1]).alone('one') as held: print(held, flush=True); sys.stdin.read()"
    )
    process = [sys.executable, "-c", hold, url]
    with subprocess.Popen(process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other_process:
        assert other_process.stdout is not None
        assert other_process.stdout.readline() == "True\n"
        with sqlite.alone("one") as held, sqlite.alone("other") as other:
            assert (held, other) == (False, True)
        other_process.kill()
    with sqlite.alone("one") as held:
        assert held
    file = Path(sqlite.engine.url.database or "")
    assert list(file.parent.glob("*-alone-*")) == []


def test_an_entry_is_indexed_exactly_where_it_has_a_segment(database: Database) -> None:
    with database.writing() as session:
        ClipRepository(session).upsert([ClipRow(id="a", path="/a", caption="")])
        index = IndexRepository(session).create("i", recipe="{}", recipe_digest="0", model="m")
    for outcome, segment in (("indexed", None), ("failed", "s")):
        entry = EntryRecord(
            index_id=index.id,
            clip_id="a",
            outcome=outcome,
            segment=segment,
            fingerprint="",
            computed_at=now(),
        )
        with pytest.raises(IntegrityError), database.writing() as session:
            session.add(entry)


def test_a_time_without_a_zone_is_refused(sqlite: Database) -> None:
    index = IndexRecord(name="i", recipe="", recipe_digest="", model="", created_at=now().replace(tzinfo=None))
    index.updated_at = now()
    with pytest.raises(StatementError, match="has no time zone"), sqlite.writing() as session:
        session.add(index)


def test_times_come_back_in_utc(database: Database) -> None:
    before = now()
    with database.writing() as session:
        ClipRepository(session).upsert([ClipRow(id="a", path="/a", caption="")])
    with database.reading() as session:
        created = session.scalars(select(ClipRecord.created_at)).one()
    assert before <= created <= now()
    assert created.utcoffset() is not None


def test_sqlite_files_are_made_with_their_directory(settings: CatalogSettings) -> None:
    assert not settings.home.exists()
    upgrade(settings.url)
    assert inspect(create_engine(settings.url)).has_table("clips")
