"""Catalogs that cannot be written or locked: told at once, with the ways out, and read as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.publishing import claim
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import Searcher
from tests.catalog.indexing import NAME, RECIPE, run

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
IDS = ["a", "b", "c"]
NO_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#define WRAP(name) int name(int fd, int cmd, ...) { \
  va_list a; va_start(a, cmd); void *x = va_arg(a, void *); va_end(a); \
  static int (*next)(int, int, ...); if (!next) next = dlsym(RTLD_NEXT, #name); \
  if (cmd == F_SETLK || cmd == F_SETLKW) { errno = ENOLCK; return -1; } return next(fd, cmd, x); }
WRAP(fcntl) WRAP(fcntl64)
int flock(int fd, int operation) { errno = ENOSYS; return -1; }
"""
"""What NFS without lockd answers, and Lustre without the mount option flock."""


@pytest.fixture
def places() -> Iterator[CatalogSettings]:
    """A home with an index, where every user may look."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    settings = CatalogSettings(home=folder / "home")
    run(settings, IDS, 2)
    yield settings
    shutil.rmtree(folder)


@contextmanager
def protected(home: Path) -> Iterator[None]:
    """Nothing under a home can be written by this process."""
    for path in (home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)  # permissions do not bind root
    try:
        yield
    finally:
        os.seteuid(before)
        for path in (home, *home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def tree(home: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (home, *home.rglob("*"))}


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return [index.name for index in IndexRepository(session).all()]


def test_a_home_that_cannot_be_written_is_told_at_once(places: CatalogSettings) -> None:
    for use in (upgrade, Database.open):
        start = time.monotonic()
        with protected(places.home), pytest.raises(CatalogError, match="this user may not write it") as told:
            use(places.url)
        assert time.monotonic() - start < 5
        assert "name a directory on a local disk with --home" in str(told.value)
        assert "can be queried as it is" in str(told.value)


def test_a_home_that_cannot_be_written_is_read_and_nothing_is_written(places: CatalogSettings) -> None:
    before = tree(places.home)
    with protected(places.home):
        changed = tree(places.home)
        database = Database.open(places.url, reading=True)
        assert names(database) == [NAME]
        with pytest.raises(CatalogError, match="cannot be written"), database.writing() as session:
            session.connection()
        database.close()
        searcher = Searcher.open(places.index_directory / NAME, RECIPE.digest)
        assert sorted(searcher.ids) == IDS
        with pytest.raises(CatalogError, match="cannot be used"):
            claim(places, NAME)
        assert tree(places.home) == changed
    assert tree(places.home) == before


def test_what_a_writer_has_not_merged_yet_is_read_too(places: CatalogSettings) -> None:
    writer = Database.open(places.url)
    with writer.writing() as session:
        IndexRepository(session).create("late", recipe=RECIPE.to_json(), recipe_digest=RECIPE.digest, model="there")
    assert places.home.joinpath("catalog.db-wal").stat().st_size
    with protected(places.home):
        database = Database.open(places.url, reading=True)
        assert sorted(names(database)) == sorted([NAME, "late"])
        database.close()
    writer.close()


def test_what_a_killed_writer_left_is_told_where_it_cannot_be_merged(places: CatalogSettings) -> None:
    """As in a copy, or a snapshot, of its home, without the memory that processes share."""
    writer = Database.open(places.url)
    with writer.writing() as session:
        IndexRepository(session).create("late", recipe=RECIPE.to_json(), recipe_digest=RECIPE.digest, model="there")
    copied = places.home.with_name("copied")
    shutil.copytree(places.home, copied, ignore=shutil.ignore_patterns("*-shm"))
    writer.close()
    there = CatalogSettings(home=copied)
    with protected(copied), pytest.raises(CatalogError, match="wal holds what a stopped writer") as told:
        Database.open(there.url, reading=True)
    assert "Run `motiontrace migrate`" in str(told.value)
    upgrade(there.url)
    with protected(copied), closing(Database.open(there.url, reading=True)) as database:
        assert sorted(names(database)) == sorted([NAME, "late"])


def test_a_database_alone_that_cannot_be_written_is_told(places: CatalogSettings) -> None:
    """As where another user made it, or its log."""
    log = places.home / "catalog.db-wal"
    log.touch()
    log.chmod(0o444)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(CatalogError, match="may not write it"):
            upgrade(places.url)
    finally:
        os.seteuid(os.getuid())


def test_whoever_may_write_is_not_held_up(places: CatalogSettings) -> None:
    with_reading = Database.open(places.url, reading=True)
    with with_reading.writing() as session:
        IndexRepository(session).create("new", recipe=RECIPE.to_json(), recipe_digest=RECIPE.digest, model="there")
    with_reading.close()
    assert not [path.name for path in places.home.iterdir() if "probe" in path.name]


def test_a_file_system_without_locks_is_told_at_once_and_can_be_read(places: CatalogSettings, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "no_locks.c", tmp_path / "no_locks.so"
    source.write_text(NO_LOCKS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    code = """
import sys, time
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.errors import NoLocksError
from motiontrace.catalog.publishing import claim
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.settings import CatalogSettings
places = CatalogSettings(home=sys.argv[1])
for use in (lambda: upgrade(places.url), lambda: upgrade(CatalogSettings(home=sys.argv[2]).url),
            lambda: Database.open(places.url), lambda: claim(places, "demo")):
    start = time.monotonic()
    try:
        use()
    except NoLocksError as error:
        assert time.monotonic() - start < 5
        print(error)
with Database.open(places.url, reading=True).reading() as session:
    print([index.name for index in IndexRepository(session).all()])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(places.home), str(tmp_path / "other")],
        env={**os.environ, "LD_PRELOAD": str(library)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    *told, found = done.stdout.splitlines()
    assert found == f"[{NAME!r}]", done.stderr
    assert len(told) == 4
    assert all("its file system has no locks" in line and "--home" in line for line in told)
    assert all("catalog.db cannot be locked (No locks available)" in line for line in told[:3])
    assert "writer.lock cannot be locked (Function not implemented)" in told[3]


def test_two_runs_of_a_new_index_are_told_before_anything_dear(places: CatalogSettings) -> None:
    first = claim(places, "new")
    with pytest.raises(CatalogError, match=f"Another process is writing the index .*new.*pid {os.getpid()}"):
        claim(places, "new")
    first.release()
    assert not (places.index_directory / "new").exists()
    second = claim(places, "new")
    second.release()
    second.release()
