"""The indexing run on real files, with a small real model, into a real catalog."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attribution.engine import load_engine, plan_recipe
from attribution.families import find_checkpoint
from catalog.database import Database, upgrade
from catalog.errors import CatalogError
from catalog.publishing import open_index
from catalog.repositories import ClipRepository, EntryRepository
from catalog.settings import CatalogSettings
from catalog.vectors import Searcher
from indexer.manifest import read_manifest
from indexer.run import IndexingSettings, index_clips
from tests.checkpoints import tiny_wan
from tests.videos import FRAMES, SIDE, moving_square, write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_wan(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(model):
    return load_engine(str(model), plan_recipe(find_checkpoint(str(model)), {}), device="cpu")


@pytest.fixture
def clips(tmp_path):
    """A folder of four moving clips, a still one, a broken one and a missing one."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, (dx, dy) in {"right": (2, 0), "left": (-2, 0), "up": (0, -2), "down": (0, 2)}.items():
        moving_square(folder / f"{name}.mp4", dx, dy)
    write_video(folder / "still.mp4", np.full((FRAMES, SIDE, SIDE, 3), 90, dtype=np.uint8))
    (folder / "broken.mp4").write_text("no video")
    names = ["right", "left", "broken", "up", "still", "missing", "down"]
    write_manifest(folder, names)
    return folder


def write_manifest(folder, names, **extra):
    rows = [{"file_name": f"{name}.mp4", "caption": f"a square moves {name}", "id": name, **extra} for name in names]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(home, folder, engine, **settings):
    places = CatalogSettings(home=home)
    upgrade(places.url)
    database = Database.open(places.url)
    try:
        index, store, recovered = open_index(database, places, "test", recipe=engine.recipe, model="there")
        with store:
            rows, how = read_manifest(folder), IndexingSettings(**settings)
            return index_clips(rows, engine, database, store, index, recovered, how)
    finally:
        database.close()


def entries(home):
    database = Database.open(CatalogSettings(home=home).url)
    try:
        with database.reading() as session:
            return EntryRepository(session).get_many(1, ClipRepository(session).get_many(all_ids(session)))
    finally:
        database.close()


def all_ids(session):
    return [clip.id for clip in ClipRepository(session).page(limit=1000).items]


def vectors(home, engine):
    searcher = Searcher.open(CatalogSettings(home=home).index_directory / "test", engine.recipe.digest)
    scores = searcher.scores(np.zeros(engine.recipe.dim, np.float32))
    return {clip_id: searcher.vector(clip_id).tobytes() for clip_id in scores.ids}


def test_broken_clips_are_recorded_with_their_reason_and_the_run_goes_on(tmp_path, clips, engine):
    summary = run(tmp_path / "home", clips, engine)
    assert dict(summary.results) == {"indexed": 4, "failed": 2, "no_motion": 1}
    found = entries(tmp_path / "home")
    assert found["broken"].reason_code == "not_a_video"
    assert found["missing"].reason_code == "missing_file"
    assert "correct the path" in found["missing"].reason
    assert found["still"].outcome == "no_motion"
    assert set(vectors(tmp_path / "home", engine)) == {"right", "left", "up", "down"}
    assert [problem.split(":")[0] for problem in summary.problems] == ["row 3", "row 6"]


def test_vectors_are_what_the_engine_computes(tmp_path, clips, engine):
    run(tmp_path / "home", clips, engine)
    expected = engine.compute(clips / "up.mp4", "a square moves up").vector
    stored = np.frombuffer(vectors(tmp_path / "home", engine)["up"], np.float32)
    assert np.allclose(stored, expected, atol=1e-6)


def test_second_run_computes_only_what_changed(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    before = vectors(home, engine)
    moving_square(clips / "left.mp4", -3, 1)
    moving_square(clips / "broken.mp4", 1, 1)
    summary = run(home, clips, engine)
    assert dict(summary.results) == {"unchanged": 4, "indexed": 2, "failed": 1}
    after = vectors(home, engine)
    assert {name for name in after if before.get(name) != after[name]} == {"left", "broken"}


def test_changed_metadata_is_kept_without_computing(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    write_manifest(clips, ["right", "left"], source="film")
    assert dict(run(home, clips, engine).results) == {"unchanged": 2}
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        clip = ClipRepository(session).get("left")
    database.close()
    assert clip.extra == {"source": "film"}


def test_changed_caption_is_computed_again(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    text = (clips / "metadata.jsonl").read_text().replace("moves right", "flies right")
    (clips / "metadata.jsonl").write_text(text)
    assert run(home, clips, engine).results["indexed"] == 1


def test_clip_that_breaks_leaves_the_index(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    (clips / "up.mp4").write_text("no video any more")
    run(home, clips, engine)
    assert "up" not in vectors(home, engine)
    assert entries(home)["up"].outcome == "failed"


def test_without_ids_content_names_the_clip(tmp_path, clips, engine):
    home = tmp_path / "home"
    shutil.copy(clips / "up.mp4", clips / "again.mp4")
    (clips / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": f"{name}.mp4", "caption": "x"}) + "\n" for name in ["up", "down", "again"])
    )
    summary = run(home, clips, engine)
    assert dict(summary.results) == {"indexed": 2, "duplicate": 1}
    assert "same clip as row 1" in summary.problems[0]
    before = vectors(home, engine)
    moving_square(clips / "down.mp4", 1, 2)
    summary = run(home, clips, engine)
    after = vectors(home, engine)
    assert summary.withdrawn == 1  # the old content of down.mp4
    assert len(after) == 2
    assert len(after.keys() & before.keys()) == 1


def test_interrupt_publishes_what_is_finished(tmp_path, clips, engine, monkeypatch):
    home = tmp_path / "home"
    compute, calls = engine.gradient, []

    def interrupted(clip, caption):
        calls.append(caption)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(clip, caption)

    monkeypatch.setattr(engine, "gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(home, clips, engine)
    assert set(vectors(home, engine)) == {"right", "left"}
    monkeypatch.undo()
    assert dict(run(home, clips, engine).results) == {"unchanged": 2, "failed": 2, "indexed": 2, "no_motion": 1}


def test_another_recipe_is_refused_by_the_field_that_differs(tmp_path, clips, engine, model):
    run(tmp_path / "home", clips, engine)
    other = load_engine(str(model), engine.recipe.model_copy(update={"timestep": 500.0}), device="cpu")
    with pytest.raises(CatalogError, match=r"timestep: 751\.0 != 500\.0"):
        run(tmp_path / "home", clips, other)


def test_killed_runs_end_in_the_index_of_an_undisturbed_one(tmp_path, engine, model):
    """SIGKILL at random moments: no clip lost, none doubled, vectors equal byte for byte, and files too."""
    kills = int(os.environ.get("MOTIONTRACE_TEST_KILLS", "2"))
    folder, names = tmp_path / "clips", []
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        dx, dy = rng.uniform(-3, 3, 2)
        names.append(f"clip-{number:02d}")
        moving_square(folder / f"{names[-1]}.mp4", dx, dy)
    write_manifest(folder, names)
    script = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from attribution.engine import load_engine, plan_recipe; from attribution.families import find_checkpoint\n"
        "from tests.indexer.test_run import run\n"
        "model, home, folder = sys.argv[1:]\n"
        "engine = load_engine(model, plan_recipe(find_checkpoint(model), {}), device='cpu')\n"
        "print('ready', flush=True)\n"
        "run(Path(home), Path(folder), engine, publish_clips=3)\n"
    )

    def start(home):
        arguments = [sys.executable, "-c", script, str(model), str(home), str(folder)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout.readline() == b"ready\n"
        return process

    undisturbed = start(tmp_path / "undisturbed")
    began = time.monotonic()
    assert undisturbed.wait(300) == 0
    lasted = time.monotonic() - began
    undisturbed.stdout.close()
    moment = random.Random(5)
    killed = 0
    for _ in range(kills):
        process = start(tmp_path / "killed")
        time.sleep(moment.uniform(0.05, 0.9) * lasted)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    last = start(tmp_path / "killed")
    assert last.wait(300) == 0
    last.stdout.close()
    assert killed
    assert vectors(tmp_path / "killed", engine) == vectors(tmp_path / "undisturbed", engine)
    files = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / home / "indexes/test").glob("*.segment"))}
        for home in ("killed", "undisturbed")
    ]
    assert files[0] == files[1]
    assert {e.outcome for e in entries(tmp_path / "killed").values()} == {"indexed"}
