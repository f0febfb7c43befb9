import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import compact, publish_batch, recover
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import ClipRepository, EntryRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import VectorStore
from tests import processes
from tests.catalog.checks import BEFORE, assert_in_step, make_home, published, reopened, same, unrecovered
from tests.catalog.indexing import NAME, clip, entry, run
from tests.catalog.vectors import vectors


@pytest.fixture
def home(settings: CatalogSettings) -> Path:
    return make_home(settings)


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_before(step: int, database: Database) -> Iterator[list[str]]:
    """Kill whatever runs before its step-th step that lasts: a file made durable, moved or deleted, a commit.

    Gives the steps that were done. After the kill nothing more is done, as in a process that is no more.
    """
    done: list[str] = []

    def last(name: str, original: Callable[..., object] | None = None) -> Callable[..., object]:
        def step_or_die(*arguments: object, **named: object) -> object:
            if len(done) >= step:
                raise Killed
            done.append(name)
            return original(*arguments, **named) if original else None

        return step_or_die

    commit = last("commit")

    def before_commit(connection: object) -> None:
        commit()

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "unlink", "link"):
            patch.setattr(os, name, last(name, getattr(os, name)))
        event.listen(database.engine, "commit", before_commit)
        try:
            yield done
        except Killed:
            done.append("killed")
        finally:
            event.remove(database.engine, "commit", before_commit)


def change(database: Database, store: VectorStore, index: IndexRecord) -> None:
    """A new clip, two computed again (one alone in its segment), one without motion now, one that failed."""
    entries = [entry("new"), entry("b", version=1), entry("alone", version=1)]
    others = [entry("a", "no_motion"), entry("bad", "failed")]
    clips = [clip("new"), clip("bad")]
    publish_batch(database, store, index, clips, entries + others, vectors(["new", "b", "alone"], 1))


AFTER = vectors("cd") | vectors(["new", "b", "alone"], 1)


def every_kill(home: Path, tmp_path: Path, work: Callable[..., object]) -> Iterator[tuple[CatalogSettings, str]]:
    """Kill the work before each of its steps in turn, each time on a fresh copy; last, let it end."""
    for step in range(200):
        settings = CatalogSettings(home=tmp_path / f"copy-{step}")
        shutil.copytree(home, settings.home)
        with unrecovered(settings) as (database, store, index), killed_before(step, database) as done:
            work(database, store, index)
        yield settings, " ".join(done)
        if done[-1] != "killed":
            assert len(done) > 4
            return
    raise AssertionError("it never ends")


def test_a_batch_killed_between_any_two_steps_is_there_whole_or_not_at_all(home: Path, tmp_path: Path) -> None:
    files = set()
    for settings, done in every_kill(home, tmp_path, change):
        assert same(published(settings), AFTER if "commit fsync replace" in done else BEFORE), done
        with reopened(settings) as (database, store, index):
            assert same(published(settings), AFTER if "commit" in done else BEFORE), done
            assert_in_step(database, settings)
            change(database, store, index)  # as the indexer would, if it was not committed
            compact(database, store, index)
            assert same(published(settings), AFTER), done
            assert_in_step(database, settings)
        [segment] = (settings.index_directory / NAME).glob("*.segment")
        files.add(segment.read_bytes())
    assert len(files) == 1


@pytest.mark.usefixtures("small_steps")
def test_compaction_killed_between_any_two_steps_changes_nothing_that_readers_see(home: Path, tmp_path: Path) -> None:
    for settings, done in every_kill(home, tmp_path, compact):
        assert same(published(settings), BEFORE), done
        with reopened(settings) as (database, _, _):
            assert same(published(settings), BEFORE), done
            assert_in_step(database, settings)


def test_recovery_killed_between_any_two_steps_can_be_done_again(home: Path, tmp_path: Path) -> None:
    settings = CatalogSettings(home=home)
    with reopened(settings) as (database, store, index):
        # A batch that is committed and not published, one that is not even committed, and a damaged segment.
        committed, _ = store.append(vectors(["new"])), store.append(vectors(["orphan"]))
        with database.writing() as session:
            ClipRepository(session).upsert([clip("new")])
            EntryRepository(session).publish(index.id, [entry("new")], segment=committed)
            segments = EntryRepository(session).segments(index.id)
        [damaged] = [name for name, ids in segments.items() if ids == {"c", "d"}]
    path = settings.index_directory / NAME / damaged
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    for killed, done in every_kill(home, tmp_path, recover):
        with reopened(killed) as (database, store, index):
            assert same(published(killed), vectors(["a", "b", "alone", "new"])), done
            assert_in_step(database, killed)
            with database.reading() as session:
                assert sorted(EntryRepository(session).fingerprints(index.id)) == ["a", "alone", "b", "new"]
            assert (killed.index_directory / NAME / "set-aside" / damaged).exists()


def test_recovery_without_a_manifest_killed_between_any_two_steps_loses_nothing(home: Path, tmp_path: Path) -> None:
    settings = CatalogSettings(home=home)
    with reopened(settings) as (_, store, _):
        unknown = store.append(vectors(["unknown"]))
    (settings.index_directory / NAME / "manifest.json").unlink()
    for killed, done in every_kill(home, tmp_path, recover):
        with reopened(killed) as (database, _, _):
            assert same(published(killed), BEFORE), done
            assert_in_step(database, killed)
            assert (killed.index_directory / NAME / "set-aside" / unknown).exists(), done


def test_an_indexer_killed_at_random_moments_makes_the_same_files(tmp_path: Path) -> None:
    ids = [f"{number:04}" for number in range(100)]
    whole = CatalogSettings(home=tmp_path / "whole")
    run(whole, ids[::-1], batch=50)

    settings = CatalogSettings(home=tmp_path / "killed")
    chance = random.Random(0)
    for _ in range(6):
        progress, report = multiprocessing.Pipe(duplex=False)
        process = processes.start(run, settings, ids, 1, report.send)
        report.close()  # so that a child that fails ends the waiting
        while progress.recv() < chance.randrange(12):
            pass
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    run(settings, ids, batch=7)

    def files(made: CatalogSettings) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in (made.index_directory / NAME).iterdir()
            if path.suffix in {".segment", ".faiss"}
        }

    assert files(settings) == files(whole)
    database = Database.open(settings.url)
    assert_in_step(database, settings)
    assert same(published(settings), vectors(ids))
    database.close()
