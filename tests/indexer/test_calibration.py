"""Learning the basis of a new index from a sample of its clips."""

import hashlib
import re
from copy import copy

import numpy as np
import pytest

from motiontrace.attribution.basis import Basis, learn_basis
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.indexer.calibration import MAX_BASIS_CLIPS, CalibrationSettings, calibrate, draw_sample, no_longer_fits
from motiontrace.indexer.manifest import read_manifest
from motiontrace.indexer.sketches import KeptSketches
from tests.indexer.runs import calls_of, entries, other_world, run, run_new, vectors, write_manifest
from tests.videos import FRAMES, SIDE, moving_square, write_video

NAMES = [f"clip-{number:02d}" for number in range(12)]
HOW = CalibrationSettings(clips=8, least=4)


@pytest.fixture
def engine(engine):
    """One that takes two clips at once."""
    two = copy(engine)
    two.batch = 2
    return two


@pytest.fixture
def twelve(tmp_path):
    """A folder of twelve moving clips."""
    folder = tmp_path / "twelve"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        moving_square(folder / f"{name}.mp4", 2 - number % 5, 1 + number // 5)
    write_manifest(folder, NAMES)
    return folder


def sampled(settings=HOW):
    return [NAMES[number] for number in draw_sample(len(NAMES), settings.clips, settings.seed)[0]]


def test_the_vectors_of_a_new_index_lie_along_the_basis_of_its_sample(tmp_path, twelve, engine):
    home = tmp_path / "home"
    calibrated, summary = run_new(home, twelve, engine, HOW)
    clips = {name: engine.prepare(twelve / f"{name}.mp4") for name in NAMES}
    sketches = {name: engine.sketch([clips[name]], [f"a square moves {name}"])[0].vector for name in NAMES}
    sample = np.stack([sketches[name] for name in sampled()])
    expected = learn_basis(sample, engine.recipe.dim)
    assert calibrated.basis.clips == len(sample) == 8
    # What it holds of a clip that it has not seen: of the first, learned from the other seven.
    unseen = np.square(learn_basis(sample[1:], engine.recipe.dim).directions @ sample[0]).sum()
    assert calibrated.basis.captured == pytest.approx(unseen, abs=1e-4)
    assert calibrated.engine.recipe.projection.basis == calibrated.basis.digest
    assert engine.recipe.projection.basis is None
    stored = vectors(home, calibrated.engine)
    for first in NAMES[:3]:
        # Directions may differ by sign; what is compared with what may not.
        along = [expected.directions @ sketches[name] for name in (first, NAMES[-1])]
        cosine = along[0] @ along[1] / np.linalg.norm(along[0]) / np.linalg.norm(along[1])
        got = [np.frombuffer(stored[name], np.float32) for name in (first, NAMES[-1])]
        assert got[0] @ got[1] == pytest.approx(cosine, abs=1e-4)
    others = [name for name in NAMES if name not in sampled()]
    held = [np.square(calibrated.basis.directions @ sketches[name]).sum() for name in others]
    assert summary.captured.clips == len(others) == 4
    assert summary.captured.mean == pytest.approx(np.mean(held), abs=1e-4)
    assert not no_longer_fits(calibrated.basis, summary.captured, least=4)


def test_the_basis_is_stored_and_what_it_was_learned_from_is_not_kept_nor_computed_twice(
    tmp_path, twelve, engine, monkeypatch
):
    calls = calls_of(engine, monkeypatch)
    places = CatalogSettings(home=tmp_path / "home")
    calibrated = calibrate(read_manifest(twelve), engine, places, "test", HOW)
    assert [name for call in calls for name in call] == sampled()
    assert len(list(KeptSketches(places, "test", engine.recipe).folder.iterdir())) == 8
    calls.clear()
    computed = calls_of(calibrated.engine, monkeypatch)
    run(tmp_path / "home", twelve, calibrated.engine)
    assert sorted(name for call in computed for name in call) == sorted(set(NAMES) - set(sampled()))
    assert not KeptSketches(places, "test", engine.recipe).folder.exists()
    found = Basis.load(places.basis_directory, calibrated.engine.recipe.projection.basis)
    assert found.digest == calibrated.basis.digest


def test_kept_sketches_know_when_and_where_their_clips_move(tmp_path, twelve, engine, monkeypatch):
    calibrated = calibrate(read_manifest(twelve), engine, CatalogSettings(home=tmp_path / "home"), "test", HOW)
    computed = calls_of(calibrated.engine, monkeypatch)
    run(tmp_path / "home", twelve, calibrated.engine)
    assert not {name for call in computed for name in call} & set(sampled())
    found = entries(tmp_path / "home")
    for name in NAMES:
        assert found[name].motion_region == engine.prepare(twelve / f"{name}.mp4").region.to_json()


def test_the_sketches_of_one_index_are_not_another_ones(tmp_path, twelve, engine):
    home = tmp_path / "home"
    places, rows = CatalogSettings(home=home), read_manifest(twelve)

    def index_another(done, total, kept):
        if done == 4:  # while the first is being made
            assert run(home, twelve, engine, "another").results["indexed"] == 12

    first = calibrate(rows, engine, places, "first", HOW, index_another)
    run(home, twelve, engine, "another")  # and while it waits to be gone on with
    assert len(list(KeptSketches(places, "first", engine.recipe).folder.iterdir())) == 8
    other = engine.recipe.model_copy(update={"timesteps": (500.0,)})
    KeptSketches(places, "first", other).save("key", engine.sketch([engine.prepare(rows[0].video)], ["a"])[0])
    run(home, twelve, first.engine, "first")
    assert not list(places.calibration_directory.iterdir())


@pytest.mark.parametrize("clips", [0, MAX_BASIS_CLIPS + 1])
def test_samples_that_no_basis_is_learned_from_are_refused(clips):
    with pytest.raises(ValueError, match=f"from 1 to 8192 clips, not {clips}"):
        CalibrationSettings(clips=clips)


def test_the_sample_is_spread_over_the_manifest_and_its_own_complement_follows():
    sample, reserve = draw_sample(1000, 100, 0)
    assert [number // 10 for number in sample] == list(range(100))
    assert sorted(sample + reserve) == list(range(1000))
    assert reserve != sorted(reserve)
    assert draw_sample(1000, 100, 0) == (sample, reserve)
    assert draw_sample(1000, 100, 1)[0] != sample
    assert draw_sample(5, 100, 0) == ([0, 1, 2, 3, 4], [])


def test_too_few_moving_clips_make_an_index_without_a_basis(tmp_path, clips, engine):
    progress = []
    calibrated = calibrate(
        read_manifest(clips),
        engine,
        CatalogSettings(home=tmp_path / "home"),
        "test",
        CalibrationSettings(clips=2, least=5),
        lambda done, total, kept: progress.append((done, total)),
    )
    assert (calibrated.basis, calibrated.clips) == (None, 4)  # the broken, the still and the missing one do not count
    assert calibrated.engine is engine
    assert progress[-1] == (7, 7)
    summary = run(tmp_path / "home", clips, calibrated.engine)
    assert summary.results["indexed"] == 4
    assert summary.captured.clips == 0


def test_clips_that_give_no_sketch_are_made_up_for_by_others(tmp_path, twelve, engine, monkeypatch):
    first = sampled()
    write_video(twelve / f"{first[0]}.mp4", np.full((FRAMES, SIDE, SIDE, 3), 90, dtype=np.uint8))
    (twelve / f"{first[1]}.mp4").write_text("no video")
    (twelve / f"{first[2]}.mp4").unlink()
    twin = (twelve / f"{first[3]}.mp4").read_bytes()
    (twelve / f"{first[4]}.mp4").write_bytes(twin)
    text = (twelve / "metadata.jsonl").read_text().replace(f"moves {first[4]}", f"moves {first[3]}")
    (twelve / "metadata.jsonl").write_text(text)

    def out_of_memory(captions):
        if first[5] in captions:
            raise RuntimeError("out of memory")

    calls_of(engine, monkeypatch, out_of_memory)
    engine.batch = 4
    how = CalibrationSettings(clips=8, least=6)
    calibrated = calibrate(read_manifest(twelve), engine, CatalogSettings(home=tmp_path / "home"), "test", how)
    assert calibrated.clips == 6  # three of the sample, its twin counted once, and three of the four others


def test_a_damaged_sketch_is_computed_again_with_its_batch(tmp_path, twelve, engine, monkeypatch):
    places, rows = CatalogSettings(home=tmp_path / "home"), read_manifest(twelve)
    first = calibrate(rows, engine, places, "test", HOW)
    kept = sorted(KeptSketches(places, "test", engine.recipe).folder.iterdir())
    whole = kept[0].read_bytes()
    told = whole[32:]
    sealed = [
        hashlib.sha256(content).digest() + content
        for content in (
            told.replace(b'"info"', b'"about"'),  # another version's
            re.sub(rb'"fps":[^,]*', b'"fps":null', told),  # as JSON has it that is no number
            told[:-4],
            told[:-1],
        )
    ]
    for damaged in (whole[:-1], b"", whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b"loss", b"lose"), *sealed):
        kept[0].write_bytes(damaged)
        with monkeypatch.context() as patch:
            calls = calls_of(engine, patch)
            assert calibrate(rows, engine, places, "test", HOW).basis.digest == first.basis.digest
        assert len(calls) == 1
        assert len(calls[0]) == 2
        assert kept[0].read_bytes()[32:][-65_536:] == whole[-65_536:]
    kept[0].write_bytes(b"")
    run(places.home, twelve, first.engine)
    again = calibrate(rows, engine, CatalogSettings(home=tmp_path / "other"), "test", HOW)
    run(tmp_path / "other", twelve, again.engine)
    mended, undisturbed = vectors(places.home, first.engine), vectors(tmp_path / "other", again.engine)
    for name in NAMES:
        assert np.allclose(np.frombuffer(mended[name], "f4"), np.frombuffer(undisturbed[name], "f4"), atol=1e-5)


def test_clips_that_the_basis_does_not_hold_are_noticed(tmp_path, clips, engine):
    basis = learn_basis(other_world(20, engine.recipe.projection.width), engine.recipe.dim)
    summary = run(tmp_path / "home", clips, engine.with_basis(basis))
    assert summary.captured.clips == 4
    assert no_longer_fits(basis, summary.captured, least=4)
    assert not no_longer_fits(basis, summary.captured)  # four clips say too little
