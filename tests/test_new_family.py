"""A new family is a module and an entry of the registry: then all verbs take its checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import find_checkpoint, load_denoiser, load_model
from motiontrace.attribution.families.registry import FAMILIES
from motiontrace.cli import app, register
from motiontrace.curation.generation import GenerationSettings, generate, load_pipeline
from tests.curation.finetuning.runs import run, trained, write_clips
from tests.ltx_family import LTX, tiny_ltx

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ltx(tmp_path_factory.mktemp("ltx"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), count=3, id=["left", "down", "right"])


@pytest.fixture
def ltx(monkeypatch: pytest.MonkeyPatch) -> LTX:
    family = LTX()
    monkeypatch.setitem(FAMILIES, family.name, family)
    return family


def motiontrace(*arguments: object) -> str:
    register()
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_checkpoint_of_an_unknown_family_is_refused_with_the_known_ones(checkpoint):
    with pytest.raises(ModelError, match="'LTXPipeline'; supported: CogVideoXPipeline and WanPipeline"):
        find_checkpoint(str(checkpoint))


def test_messages_know_the_new_family(ltx, checkpoint, tmp_path):
    assert find_checkpoint(str(checkpoint)).kind is ltx
    with pytest.raises(ModelError, match=r"CogVideoX-2b or Lightricks/LTX-Video.*_cogvideox_to_.*_ltx_to_diffusers"):
        (tmp_path / "model.ckpt").write_text("weights")
        find_checkpoint(str(tmp_path / "model.ckpt"))
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "LTXImageToVideoPipeline"}))
    with pytest.raises(ModelError, match=r"starts from an image.*LTXPipeline"):
        find_checkpoint(str(tmp_path))


@torch.no_grad()
def test_model_predicts_what_its_pipeline_asks_of_its_denoiser(ltx, checkpoint):
    """One step of the pipeline: latents, prompt, mask and positions reach the denoiser as they do there."""
    asked: dict[str, torch.Tensor] = {}
    pipeline = load_pipeline(str(checkpoint), device="cpu")
    pipeline.transformer.register_forward_hook(
        lambda module, inputs, given, output: asked.update(given, output=output[0]), with_kwargs=True
    )
    generate(pipeline, ["a ball"], [0], frames=5, height=32, width=32, steps=1, guidance=1.0)
    model = load_model(find_checkpoint(str(checkpoint)), timesteps=[751], dtype="float32", device="cpu")
    noisy = asked["hidden_states"].transpose(1, 2).unflatten(2, model.latent_shape(5, 32, 32)[1:])
    found = model.predict(noisy, asked["timestep"], model.encode_prompt("a ball"))
    assert torch.allclose(found.flatten(2).transpose(1, 2), asked["output"], atol=1e-6)
    alone = load_denoiser(find_checkpoint(str(checkpoint)), timesteps=[751], dtype="float32", device="cpu")
    assert torch.equal(
        alone.predict(noisy, 751.0, model.encode_prompt("a")), model.predict(noisy, 751.0, model.encode_prompt("a"))
    )


def test_new_family_indexes_and_answers(ltx, checkpoint, clips, tmp_path):
    places = ("--home", tmp_path / "home", "--index", "new")
    assert "3 indexed" in motiontrace("index", clips, "--model", checkpoint, *places)
    asked = ("query", clips / "1.mp4", "--prompt", "a square that moves 1", "--json")
    top = json.loads(motiontrace(*asked, *places))["top"]
    assert top[0]["id"] == "down"
    assert top[0]["score"] == pytest.approx(1, abs=2e-3)


@pytest.mark.usefixtures("accelerate_as_in_a_new_process")
def test_new_family_generates_a_video_and_is_fine_tuned(ltx, checkpoint, clips, tmp_path):
    settings = GenerationSettings.of(find_checkpoint(str(checkpoint)), steps=2)
    assert settings == GenerationSettings(5, 32, 32, steps=2, guidance=3, fps=25.0)
    base = generate(load_pipeline(str(checkpoint), device="cpu"), ["a ball falls"], [3], **settings.for_model())
    assert base.shape == (1, 5, 32, 32, 3)
    run(clips, checkpoint, tmp_path / "tuned", train_steps=2, learning_rate=0.05)
    assert any(name.endswith("lora_B.weight") and weight.any() for name, weight in trained(tmp_path / "tuned").items())
    tuned = load_pipeline(str(checkpoint), tmp_path / "tuned", device="cpu")
    assert np.any(generate(tuned, ["a ball falls"], [3], **settings.for_model()) != base)
