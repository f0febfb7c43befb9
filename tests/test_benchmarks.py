"""The benchmarks' scripts at toy sizes, so that they keep running: docs/results/benchmarks.md has what they measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import clip, gpu
from benchmarks.architectures import moving_clips, sketches_of, wan_at
from benchmarks.fidelity import Fidelity, Settings, finished, verdicts
from benchmarks.passes import TIMESTEP, Passes
from motiontrace.attribution.projection import make_projection
from motiontrace.demo.corpus import CorpusSettings, write_corpus
from tests.checkpoints import tiny_wan

SETTINGS = Settings(dims=(16, 512), width=2048, factors=(4, 8), shipped_factors=8, seeds=1)


@pytest.fixture(scope="module", params=["paper", "default"])
def fidelity(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fidelity:
    folder = tmp_path_factory.mktemp("fidelity")
    write_corpus(folder / "corpus", CorpusSettings(clips_per_motion=1, heldout_per_motion=1))
    architecture = replace(wan_at(tiny_wan(folder / "wan"), "toy"), preset=request.param)
    return Fidelity(architecture, moving_clips(architecture, folder / "corpus", 16), SETTINGS, folder)


def test_fidelity_at_a_toy_size(fidelity: Fidelity) -> None:
    rows = fidelity.rows()
    assert [(row["gradients"], row["directions"]) for row in rows] == [
        *((what, "random") for what in ("dense signs", "count-sketch", "Fastfood", "factorised 8")),
        *((what, "learned") for what in ("count-sketch", "Fastfood", "factorised 4", "factorised 8")),
    ]
    assert all(row["512"] > 0.5 for row in rows)
    assert [row["learned from"] for row in rows[4:]] == [8] * 4
    assert all(0 < row["factorised %"] < 100 for row in rows[6:])
    assert len(verdicts(rows, SETTINGS)) == 3
    batch, bfloat16 = (row["largest distance"] for row in fidelity.same_clip()[1:3])
    assert batch < 1e-4 < bfloat16


def test_exact_gradients_are_those_of_the_recipe_queries_masked_and_divided_by_its_scales(fidelity: Fidelity) -> None:
    recipe = fidelity.architecture.recipe({})
    default = recipe.motion.weight == "query"
    assert len(fidelity.evaluated) == (16 if default else 8)
    assert np.allclose(fidelity.truth, fidelity.truth.T) != default
    assert (recipe.gradient_scales is not None) == default
    engine = fidelity.architecture.engine({"gradients": "exact", "projection": {"width": 512, "dim": 512}})
    projected = fidelity.exact.projected(make_projection(engine.recipe.projection))
    sketched = finished(engine, sketches_of(engine, fidelity.evaluated))
    assert np.allclose(projected / np.linalg.norm(projected, axis=1, keepdims=True), sketched, atol=1e-4)


def test_exact_cosines_rank_as_themselves(fidelity: Fidelity) -> None:
    values, vectors = torch.linalg.eigh(torch.from_numpy(fidelity.exact.cosines()))
    whole = (vectors * values.clamp_min(0).sqrt()).numpy()
    assert fidelity.spearman(whole, fidelity._every()) == pytest.approx(1.0)


def test_gpu_at_a_toy_size(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--tiny", "--eager", "--peak-tflops", "0.1"])
    printed = capsys.readouterr().out
    assert printed.count("(b) ours") == 2
    assert "encoding the video" in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_says_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main([])
    assert capsys.readouterr().out.count("\n") == 1


def test_operations_of_wan_as_by_hand() -> None:
    linear, attention = gpu.WAN_1_3B.forward_flops()
    tokens, text, width, ffn = 21 * 30 * 52, 512, 1536, 8960
    assert attention == 30 * 4 * tokens * (tokens + text) * width
    # Six of video tokens, keys and values of the text, and the two of the feed-forward.
    layer = tokens * (6 * width**2 + 2 * width * ffn) + 2 * text * width**2
    assert linear == pytest.approx(30 * 2 * layer, rel=0.01)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_each_way_of_the_clip_benchmark(checkpointing: bool) -> None:
    found = {
        way: Passes(gpu.TINY, checkpointing=checkpointing, compiled=False).way(way, 1)() for way in ("plain", "ours")
    }
    # At this size every layer is kept whole, so that both are the same sketch of the same gradient.
    torch.testing.assert_close(found["ours"], found["plain"], rtol=1e-3, atol=1e-6 * float(found["plain"].norm()))


def test_clip_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "SHAPE", gpu.TINY)
    measured = clip.measure("ours", 2, checkpointing=False, compiled=False)
    assert measured["seconds"] > 0
    assert TIMESTEP == 751
