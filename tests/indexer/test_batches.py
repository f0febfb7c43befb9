"""Clips computed several at once: the same vectors, and no clip that costs another."""

import numpy as np
import pytest

from tests.indexer.runs import calls_of, entries, run, vectors, write_manifest
from tests.videos import moving_square

NAMES = [f"clip-{number}" for number in range(6)]


@pytest.fixture
def six(tmp_path):
    """A folder of six moving clips."""
    folder = tmp_path / "six"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        moving_square(folder / f"{name}.mp4", 2 - number, 1)
    write_manifest(folder, NAMES)
    return folder


def test_batches_of_one_and_of_four_give_the_same_vectors(tmp_path, six, engine):
    run(tmp_path / "one", six, engine, batch=1)
    run(tmp_path / "four", six, engine, batch=4)
    one, four = vectors(tmp_path / "one", engine), vectors(tmp_path / "four", engine)
    assert one.keys() == four.keys() == set(NAMES)
    for name in NAMES:
        assert np.allclose(np.frombuffer(one[name], "f4"), np.frombuffer(four[name], "f4"), atol=1e-5)


def test_batches_are_filled_in_order_past_clips_that_need_no_model(tmp_path, clips, engine, monkeypatch):
    calls = calls_of(engine, monkeypatch)
    told = []
    summary = run(tmp_path / "home", clips, engine, batch=2, on_row=lambda result, kept: told.append(result))
    # right, left, broken, up, still, missing, down: the still one is no work.
    assert calls == [["right", "left"], ["still"], ["up", "down"]]
    assert told == ["indexed", "indexed", "failed", "no_motion", "failed", "indexed", "indexed"]
    assert [problem.split(":")[0] for problem in summary.problems] == ["line 3", "line 6"]


def test_a_run_that_goes_on_forms_the_batches_of_one_that_was_not_cut_off(tmp_path, six, engine, monkeypatch):
    def cut_off(captions):
        if "clip-4" in captions:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        calls_of(engine, patch, cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "home", six, engine, batch=2, publish_clips=1)
    calls = calls_of(engine, monkeypatch)
    run(tmp_path / "home", six, engine, batch=2)
    assert calls == [["clip-4", "clip-5"]]


def test_a_clip_without_a_gradient_costs_its_batch_nothing(tmp_path, six, engine, monkeypatch):
    prepare = engine.prepare

    def without_weight(path, **more):
        clip = prepare(path, **more)
        if path.stem == "clip-1":
            clip.weight.zero_()  # something moves, and the loss is zero everywhere
        return clip

    monkeypatch.setattr(engine, "prepare", without_weight)
    summary = run(tmp_path / "home", six, engine, batch=4)
    assert dict(summary.results) == {"indexed": 5, "failed": 1}
    assert summary.broken_batches == 0
    assert entries(tmp_path / "home")["clip-1"].reason_code == "gradient"
    assert "gradient is zero" in summary.problems[0]


def test_a_batch_that_fails_as_a_whole_is_computed_clip_by_clip(tmp_path, six, engine, monkeypatch):
    def out_of_memory(captions):
        if "clip-1" in captions:
            raise RuntimeError("out of memory")

    calls = calls_of(engine, monkeypatch, out_of_memory)
    summary = run(tmp_path / "home", six, engine, batch=4)
    assert calls == [NAMES[:4], *([name] for name in NAMES[:4]), NAMES[4:]]
    assert dict(summary.results) == {"indexed": 5, "failed": 1}
    assert summary.broken_batches == 1
    assert entries(tmp_path / "home")["clip-1"].reason_code == "unexpected"


@pytest.mark.parametrize("batch", [1, 4])
def test_so_many_surprises_in_a_row_end_the_run(tmp_path, six, engine, monkeypatch, batch):
    def broken_machine(captions):
        if captions[0] >= "clip-2" or len(captions) > 1:
            raise RuntimeError("no device")

    calls_of(engine, monkeypatch, broken_machine)
    with pytest.raises(RuntimeError, match="no device"):
        run(tmp_path / "home", six, engine, batch=batch, surprises=3)


def test_surprises_that_are_not_in_a_row_do_not_end_it(tmp_path, six, engine, monkeypatch):
    def every_second(captions):
        if captions[0] in NAMES[::2]:
            raise RuntimeError("odd")

    calls_of(engine, monkeypatch, every_second)
    assert run(tmp_path / "home", six, engine, batch=1, surprises=2).results["failed"] == 3
