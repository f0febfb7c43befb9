"""Indexing that is killed, and started again."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

from attribution.basis import Basis
from catalog.database import Database
from catalog.publishing import recipe_of
from catalog.repositories import IndexRepository
from catalog.settings import CatalogSettings
from tests.indexer.runs import entries, vectors, write_manifest
from tests.videos import moving_square

CLIPS = 24
SCRIPT = """
import sys
from pathlib import Path
import torch
from attribution.basis import Basis
from catalog.database import Database, upgrade
from catalog.publishing import recipe_of
from catalog.repositories import IndexRepository
from catalog.settings import CatalogSettings
from indexer.calibration import CalibrationSettings, calibrate
from indexer.manifest import read_manifest
from tests.indexer.runs import run, tiny_engine

torch.set_num_threads(1)
model, home, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
places = CatalogSettings(home=home)
engine = tiny_engine(model)
upgrade(places.url)
database = Database.open(places.url)
with database.reading() as session:
    index = IndexRepository(session).find("test")
database.close()
if index is None:
    how = CalibrationSettings(clips=14, least=8)
    rows, on_row = read_manifest(folder), lambda done, total: print("sketch", flush=True)
    calibrated = calibrate(rows, engine, places, "test", how, on_row)
    engine = calibrated.engine
else:
    engine = engine.with_basis(Basis.load(places.basis_directory, recipe_of(index).projection.basis))
run(home, folder, engine, on_row=lambda result: print("row", flush=True), publish_clips=3)
"""


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

    def start(home):
        arguments = [sys.executable, "-c", SCRIPT, str(model), str(tmp_path / home), str(folder)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    def finish(home):
        with start(home) as process:
            said = process.stdout.read().split()
        assert process.returncode == 0
        return said

    undisturbed = finish("undisturbed")
    assert undisturbed.count("row") == CLIPS
    moment = random.Random(5)
    killed = []
    for kill in range(kills):
        wanted = ("sketch", "row")[kill % 2]
        count = moment.randint(1, undisturbed.count(wanted) - 1)
        with start("killed") as process:
            while count and (line := process.stdout.readline()):
                count -= line.strip() == wanted
            time.sleep(moment.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        killed.append(process.returncode == -signal.SIGKILL and count == 0)
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


def recipe_of_index(home):
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        recipe = recipe_of(IndexRepository(session).get("test"))
    database.close()
    return recipe
