"""Indexing that is killed, and started again."""

import multiprocessing
import os
import pkgutil
import random
import signal
import time
from contextlib import suppress
from itertools import count

import numpy as np
import pytest
import torch

from motiontrace.attribution.basis import Basis
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import recipe_of
from motiontrace.catalog.repositories import EntryRepository, IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.indexer.calibration import CalibrationSettings, calibrate
from motiontrace.indexer.manifest import read_manifest
from tests import processes
from tests.indexer.runs import entries, run, tiny_engine, vectors, write_manifest
from tests.videos import moving_square

CLIPS = 24
BATCHED = 12


def learn_and_index(model, home, folder, report, held):
    """Learn a basis unless the index has one, then index; tells of sketches and rows. `held`: stays at the last."""
    torch.set_num_threads(1)
    places = CatalogSettings(home=home)
    engine = tiny_engine(model)
    upgrade(places.url)
    database = Database.open(places.url)
    with database.reading() as session:
        index = IndexRepository(session).find("test")
    database.close()
    if index is None:
        how = CalibrationSettings(clips=14, least=8)
        rows, on_row = read_manifest(folder), lambda done, total, kept: report.send("sketch")
        engine = calibrate(rows, engine, places, "test", how, on_row).engine
    else:
        engine = engine.with_basis(Basis.load(places.basis_directory, recipe_of(index).projection.basis))
    rows = count(1)

    def on_row(result, kept):
        report.send("row")
        if next(rows) == CLIPS and held:
            signal.pause()

    run(home, folder, engine, on_row=on_row, publish_clips=3)


def test_killed_runs_end_in_the_index_of_an_undisturbed_one(tmp_path, engine, model):
    """SIGKILL while the basis is learned and while clips are indexed: no clip lost, none doubled.

    The basis and the vectors are equal byte for byte, and the files too: a batch is computed and published as a whole,
    so what is computed after a kill is computed in the batches, and with the rounding, of an undisturbed run. (Where
    the engine, measuring anew, settles on another batch, they are equal but for rounding: see test_batches.)
    """
    kills = int(os.environ.get("MOTIONTRACE_TEST_KILLS", "2"))
    folder, names = tmp_path / "clips", []
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(CLIPS):
        dx, dy = rng.uniform(-3, 3, 2)
        names.append(f"clip-{number:02d}")
        moving_square(folder / f"{names[-1]}.mp4", dx, dy)
    write_manifest(folder, names)

    def start(home, held=False):
        said, report = multiprocessing.Pipe(duplex=False)
        process = processes.start(learn_and_index, str(model), tmp_path / home, folder, report, held)
        report.close()  # so that the end of the process ends what it says
        return process, said

    def finish(home):
        process, said = start(home)
        everything = list(until_it_ends(said))
        process.join()
        assert process.exitcode == 0
        return everything

    undisturbed = finish("undisturbed")
    assert undisturbed.count("row") == CLIPS
    moment = random.Random(5)
    killed = []
    for kill in range(kills):
        wanted = ("sketch", "row")[kill % 2]
        left = moment.randint(1, undisturbed.count(wanted) - 1)
        process, said = start("killed", held=True)  # so that it does not end before it is killed
        saying = until_it_ends(said)
        while left and (word := next(saying, None)):
            left -= word == wanted
        time.sleep(moment.uniform(0, 0.2))
        process.kill()
        process.join()
        killed.append(process.exitcode == -signal.SIGKILL and left == 0)
    finish("killed")
    assert all(killed[:2])
    first, second = (recipe_of_index(tmp_path / home) for home in ("undisturbed", "killed"))
    assert first.projection.basis == second.projection.basis is not None
    assert Basis.load(tmp_path / "killed/bases", second.projection.basis).clips == 14
    learned = engine.with_basis(Basis.load(tmp_path / "undisturbed/bases", first.projection.basis))
    assert vectors(tmp_path / "killed", learned) == vectors(tmp_path / "undisturbed", learned)
    files = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / home / "indexes/test").glob("*.segment"))}
        for home in ("killed", "undisturbed")
    ]
    assert files[0] == files[1]
    assert {e.outcome for e in entries(tmp_path / "killed").values()} == {"indexed"}
    assert not list((tmp_path / "killed/calibration").iterdir())


def until_it_ends(said):
    with suppress(EOFError):
        while True:
            yield said.recv()


def recipe_of_index(home):
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        recipe = recipe_of(IndexRepository(session).get("test"))
    database.close()
    return recipe


def killed_at(model, home, folder, name, number):
    """Index, and be killed by the system at the number-th time that a step of this name begins."""
    torch.set_num_threads(1)
    room, _, path = name.partition(":")
    owner, _, call = path.rpartition(".")
    place = pkgutil.resolve_name(f"{room}:{owner}") if owner else pkgutil.resolve_name(room)
    original, calls = getattr(place, call), count(1)

    def step(*arguments, **named):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(place, call, step)
    run(home, folder, tiny_engine(model), publish_clips=4)


STEPS = {
    "before a batch's vectors": ("motiontrace.catalog.vectors.store:VectorStore.append", 2),
    "before the commit of a batch": ("motiontrace.catalog.repositories:EntryRepository.publish", 2),
    "between the commit of a batch and its manifest": ("motiontrace.catalog.vectors.store:VectorStore.publish", 2),
    "before compaction": ("motiontrace.catalog.vectors.store:VectorStore.merge", 1),
    "in compaction, before its commit": ("motiontrace.catalog.repositories:EntryRepository.move", 1),
    # Three batches of four clips; the fourth is that of compaction.
    "in compaction, between its commit and its manifest": ("motiontrace.catalog.vectors.store:VectorStore.publish", 4),
    "in compaction, before the old files go": ("motiontrace.catalog.vectors.store:delete_segment", 1),
}


@pytest.mark.parametrize("step", STEPS)
def test_an_indexer_killed_at_a_step_leaves_vectors_and_rows_that_agree(
    step, tmp_path, clips_of_batches, engine, model
):
    folder, whole = clips_of_batches
    home = tmp_path / "home"
    process = processes.start(killed_at, str(model), home, folder, *STEPS[step])
    process.join(processes.SECONDS)
    assert process.exitcode == -signal.SIGKILL
    summary = run(home, folder, engine, publish_clips=4)
    assert summary.results["unchanged"] + summary.results["indexed"] == BATCHED
    assert summary.results["failed"] == 0
    assert {entry.outcome for entry in entries(home).values()} == {"indexed"}
    assert vectors(home, engine) == whole
    assert files_in_step(home)
    assert run(home, folder, engine).results == {"unchanged": BATCHED}


@pytest.fixture(scope="module")
def clips_of_batches(tmp_path_factory, engine):
    """Clips that are published in three batches, and the vectors of an undisturbed run."""
    folder = tmp_path_factory.mktemp("batches")
    rng, names = np.random.default_rng(1), [f"clip-{number:02d}" for number in range(BATCHED)]
    for name in names:
        moving_square(folder / f"{name}.mp4", *rng.uniform(-3, 3, 2))
    write_manifest(folder, names)
    home = tmp_path_factory.mktemp("whole")
    run(home, folder, engine, publish_clips=4)
    return folder, vectors(home, engine)


def files_in_step(home):
    """Whether the store has the files of those segments that the rows name, and no other."""
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        named = EntryRepository(session).segments(IndexRepository(session).get("test").id).keys()
    database.close()
    return named == {path.name for path in (home / "indexes/test").glob("*.segment")}
