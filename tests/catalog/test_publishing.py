import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.errors import CatalogError, StoreLockedError, StoreMissingError
from motiontrace.catalog.publishing import compact, open_index, publish_batch, recover
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import ClipRepository, EntryRepository, IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import VectorStore
from motiontrace.catalog.vectors.manifest import Manifest
from motiontrace.catalog.vectors.recovery import Reconciled
from tests.catalog.checks import BEFORE, assert_in_step, make_home, published, reopened, same
from tests.catalog.indexing import NAME, RECIPE, clip, entry, publish
from tests.catalog.vectors import vectors


@pytest.fixture
def home(settings: CatalogSettings) -> Path:
    return make_home(settings)


@pytest.fixture
def opened(database: Database, settings: CatalogSettings) -> Iterator[tuple[IndexRecord, VectorStore]]:
    index, store, _ = open_index(database, settings, NAME, recipe=RECIPE, model="/model")
    with store:
        yield index, store


def test_a_batch_is_stored_whole(
    database: Database, settings: CatalogSettings, opened: tuple[IndexRecord, VectorStore]
) -> None:
    index, store = opened
    entries = [entry("a"), entry("b"), entry("c", "no_motion"), entry("d", "failed")]
    publish_batch(database, store, index, [clip(i) for i in "abcd"], entries, vectors("ab"))
    with database.reading() as session:
        [overview] = IndexRepository(session).overview()
        assert overview.counts == {"indexed": 2, "no_motion": 1, "failed": 1}
        assert len(ClipRepository(session).page(index_id=index.id).items) == 4
    assert same(published(settings), vectors("ab"))
    assert_in_step(database, settings)


def test_a_clip_computed_again_is_replaced_and_one_without_motion_leaves(
    database: Database, settings: CatalogSettings, opened: tuple[IndexRecord, VectorStore]
) -> None:
    index, store = opened
    publish(database, store, index, "abc")
    publish_batch(database, store, index, [], [entry("b", version=1)], vectors("b", 1))
    publish_batch(database, store, index, [], [entry("c", "no_motion")], {})
    assert same(published(settings), vectors("a") | vectors("b", 1))
    assert_in_step(database, settings)


def test_entries_and_vectors_must_fit_together(database: Database, opened: tuple[IndexRecord, VectorStore]) -> None:
    index, store = opened
    clips = [clip("a")]
    with pytest.raises(ValueError, match=r"do not fit together: \['a'\]"):
        publish_batch(database, store, index, clips, [entry("a")], {})
    with pytest.raises(ValueError, match=r"do not fit together: \['a'\]"):
        publish_batch(database, store, index, clips, [entry("a", "no_motion")], vectors("a"))
    with pytest.raises(ValueError, match="two entries"):
        publish_batch(database, store, index, clips, [entry("a"), entry("a", "failed")], vectors("a"))


@pytest.mark.usefixtures("small_steps")
def test_many_batches_are_merged_on_the_way_and_compacted_at_the_end(
    database: Database, settings: CatalogSettings, opened: tuple[IndexRecord, VectorStore]
) -> None:
    index, store = opened
    ids = [f"{number:02}" for number in range(30)]
    for clip_id in ids:
        publish(database, store, index, [clip_id])
        assert len(store.small()) < 4
        assert_in_step(database, settings)
    compact(database, store, index)
    assert [entry.count for entry in store.manifest.segments] == [8, 8, 8, 6]
    assert_in_step(database, settings)
    assert same(published(settings), vectors(ids))
    version = store.manifest.version
    compact(database, store, index)
    assert store.manifest.version == version  # nothing left to do
    assert recover(database, store, index) == Reconciled()


def test_an_index_is_made_once_and_then_opened(sqlite: Database, settings: CatalogSettings) -> None:
    index, store, _ = open_index(sqlite, settings, NAME, recipe=RECIPE, model="/model")
    with pytest.raises(StoreLockedError, match=f"pid {os.getpid()} "):
        open_index(sqlite, settings, NAME, recipe=RECIPE, model="/model")
    store.close()
    again, store, _ = open_index(sqlite, settings, NAME, recipe=RECIPE, model="/elsewhere")
    store.close()
    assert (again.id, again.model) == (index.id, "/model")
    assert RECIPE.from_json(index.recipe) == RECIPE


def test_an_index_of_another_recipe_is_refused_and_the_field_named(sqlite: Database, settings: CatalogSettings) -> None:
    open_index(sqlite, settings, NAME, recipe=RECIPE, model="/model")[1].close()
    other = RECIPE.model_copy(update={"timesteps": (500.0,)})
    with pytest.raises(CatalogError, match=r"another recipe \(timesteps: \[751.*500"):
        open_index(sqlite, settings, NAME, recipe=other, model="/model")


def test_vectors_of_another_catalog_stay_and_no_index_is_left_behind(home: Path, tmp_path: Path) -> None:
    settings = CatalogSettings(home=home, database_url=f"sqlite:///{tmp_path / 'other.db'}")
    upgrade(settings.url)
    database = Database.open(settings.url)
    with pytest.raises(CatalogError, match="holds vectors already"):
        open_index(database, settings, NAME, recipe=RECIPE, model="/model")
    with database.reading() as session:
        assert IndexRepository(session).find(NAME) is None
    database.close()
    assert same(published(settings), BEFORE)


def test_a_lost_manifest_is_made_anew_in_one_step(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CatalogSettings(home=home)
    (settings.index_directory / NAME / "manifest.json").unlink()
    totals = []
    write = Manifest.write

    def watched(manifest: Manifest, directory: Path) -> None:
        totals.append(manifest.total)
        write(manifest, directory)

    monkeypatch.setattr(Manifest, "write", watched)
    with reopened(settings):
        assert same(published(settings), BEFORE)
    assert totals == [5]  # readers never found an empty one


def test_a_lost_catalog_and_manifest_leave_the_vectors_where_they_are(home: Path) -> None:
    settings = CatalogSettings(home=home)
    for lost in (home / "catalog.db", settings.index_directory / NAME / "manifest.json"):
        lost.unlink()
    before = sorted((settings.index_directory / NAME).glob("*.segment"))
    upgrade(settings.url)
    with pytest.raises(CatalogError, match="holds vectors already"), reopened(settings):
        pass
    assert sorted((settings.index_directory / NAME).glob("*.segment")) == before


def test_a_volume_that_is_not_mounted_costs_no_entry(home: Path, tmp_path: Path) -> None:
    settings = CatalogSettings(home=home)
    (home / "indexes").rename(tmp_path / "unmounted")
    with pytest.raises(StoreMissingError, match=r"none of the 5 vectors .* is its volume mounted"), reopened(settings):
        pass
    shutil.rmtree(home / "indexes")
    (tmp_path / "unmounted").rename(home / "indexes")
    with reopened(settings) as (database, _, _):
        assert_in_step(database, settings)
    assert same(published(settings), BEFORE)


def test_segments_that_a_restored_database_does_not_know_are_set_aside_without_a_manifest(home: Path) -> None:
    settings = CatalogSettings(home=home)
    shutil.copy(home / "catalog.db", home / "backup.db")  # closed, so it is whole
    with reopened(settings) as (database, store, index):
        publish(database, store, index, ["newer"])
        [newer] = {entry.name for entry in store.manifest.segments} - _segments(home / "backup.db")
    (home / "backup.db").rename(home / "catalog.db")
    directory = settings.index_directory / NAME
    (directory / "manifest.json").unlink()
    database = Database.open(settings.url)
    _, store, recovered = open_index(database, settings, NAME, recipe=RECIPE, model="/model")
    store.close()
    assert recovered.set_aside == [directory / "set-aside" / newer]
    assert recovered.set_aside[0].exists()
    assert_in_step(database, settings)
    database.close()


def _segments(file: Path) -> set[str]:
    database = Database.open(f"sqlite:///{file}")
    with database.reading() as session:
        found = set(EntryRepository(session).segments(1))
    database.close()
    return found


def test_files_that_may_not_be_used_are_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:  # permissions do not stop root, who runs tests in containers
        raise PermissionError(errno.EACCES, "Permission denied", "the file")

    settings = CatalogSettings(home=home)
    for module, name in ((fcntl, "flock"), (Path, "read_bytes"), (np, "memmap")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refuse)
            with (
                pytest.raises(CatalogError, match=r"the file cannot be used \(Permission denied\)"),
                reopened(settings),
            ):
                pass
    with reopened(settings) as (database, store, index), monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(CatalogError, match=r"the file cannot be used \(Permission denied\)"):
            publish(database, store, index, ["new"])
