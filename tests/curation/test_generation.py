"""Videos from real pipelines of both families, small and untrained."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from peft import LoraConfig, get_peft_model_state_dict

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import find_checkpoint
from motiontrace.curation.generation import ADAPTER, GenerationSettings, generate, load_pipeline
from tests.checkpoints import edited, tiny_cogvideox, tiny_wan

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = ["a ball falls", "a star rolls", "a box spins"]
QUICK = {"frames": 5, "height": 32, "width": 32, "steps": 2, "guidance": 3.0}


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    return tiny_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def pipeline(wan):
    return load_pipeline(str(wan), device="cpu")


@pytest.fixture(scope="module")
def cogvideox(tmp_path_factory):
    return tiny_cogvideox(tmp_path_factory.mktemp("cogvideox"))


@pytest.fixture(scope="module")
def lora(wan, tmp_path_factory) -> Path:
    """A LoRA as diffusers saves it, whose update is not zero."""
    pipeline = load_pipeline(str(wan), device="cpu")
    pipeline.transformer.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_v"]))
    with torch.no_grad():
        for name, parameter in pipeline.transformer.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("lora")
    WanPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer))
    return folder


def test_a_video_depends_on_its_prompt_and_seed_alone(pipeline):
    together = generate(pipeline, PROMPTS, [7, 8, 9], **QUICK)
    assert together.shape == (3, 5, 32, 32, 3)
    assert together.dtype == np.uint8
    alone = generate(pipeline, PROMPTS[1:2], [8], **QUICK)[0]
    assert np.abs(alone.astype(int) - together[1]).max() <= 1
    in_pieces = generate(pipeline, PROMPTS, [7, 8, 9], **QUICK, batch=2)
    assert np.abs(in_pieces.astype(int) - together).max() <= 1
    assert np.array_equal(generate(pipeline, PROMPTS, [7, 8, 9], **QUICK), together)


def test_seed_and_prompt_make_the_difference(pipeline):
    first, other_seed, other_prompt = generate(pipeline, [PROMPTS[0], PROMPTS[0], PROMPTS[1]], [1, 2, 1], **QUICK)
    assert (first != other_seed).mean() > 0.3
    assert (first != other_prompt).any()


def test_each_step_is_heard_of(pipeline):
    heard: list[int] = []
    generate(pipeline, PROMPTS, [0, 1, 2], **QUICK, batch=2, on_step=heard.append)
    assert heard == [2, 2, 1, 1]


def test_cogvideox_generates_the_frames_asked_for(cogvideox):
    settings = GenerationSettings.of(find_checkpoint(str(cogvideox)), steps=2)
    video = generate(load_pipeline(str(cogvideox), device="cpu"), PROMPTS[:1], [3], **settings.for_model())
    assert video.shape == (1, 9, 32, 32, 3)


def test_lora_changes_the_video(wan, pipeline, lora):
    base = generate(pipeline, PROMPTS[:1], [4], **QUICK)
    for given in (lora, lora / ADAPTER):
        tuned = generate(load_pipeline(str(wan), given, device="cpu"), PROMPTS[:1], [4], **QUICK)
        assert (base != tuned).mean() > 0.1


def test_lora_of_another_model_is_refused(wan, lora, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = {name.replace("blocks", "layers"): tensor for name, tensor in load_file(lora / ADAPTER).items()}
    save_file(weights, tmp_path / ADAPTER)
    with pytest.raises(ModelError, match="LoRA"):
        load_pipeline(str(wan), tmp_path, device="cpu")
    save_file({f"text_encoder.{name}": tensor for name, tensor in weights.items()}, tmp_path / ADAPTER)
    with pytest.raises(ModelError, match="nothing in the LoRA"):
        load_pipeline(str(wan), tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("more", "less", "said"),
    [
        (
            {
                "transformer.blocks.9.attn1.to_q.lora_A.weight": (4, 32),
                "transformer.blocks.9.attn1.to_q.lora_B.weight": (32, 4),
            },
            "",
            r"2 of its tensors fit nowhere \(blocks\.9\.attn1\.to_q\.lora_A\.weight, ",
        ),
        ({"text_encoder.block.0.q.lora_A.weight": (4, 4)}, "", r"1 of its tensors fit nowhere \(text_encoder\.block"),
        ({}, "blocks.0.attn1.to_q.lora_B", r"1 of its tensors are missing \(blocks\.0\.attn1\.to_q\.lora_B\.weight\)"),
        ({"transformer.blocks.0.attn1.to_q.lora_A.weight": (4, 32)}, "", "1 of its tensors are not finite"),
    ],
)
def test_half_a_lora_is_refused(wan, lora, tmp_path, more, less, said):
    from safetensors.torch import load_file, save_file

    weights = {name: each for name, each in load_file(lora / ADAPTER).items() if not less or less not in name}
    save_file({**weights, **{name: torch.full(shape, torch.nan) for name, shape in more.items()}}, tmp_path / ADAPTER)
    with pytest.raises(ModelError, match=said):
        load_pipeline(str(wan), tmp_path, device="cpu")


def test_missing_lora_is_told(wan, tmp_path):
    with pytest.raises(ModelError, match=r"there is no LoRA .*motiontrace finetune"):
        load_pipeline(str(wan), tmp_path)


def test_sizes_come_from_the_recommendation_then_from_the_family(wan, cogvideox, tmp_path):
    settings = GenerationSettings.of(find_checkpoint(str(wan)), steps=None, guidance=2.0)
    assert settings == GenerationSettings(5, 32, 32, steps=50, guidance=2.0, fps=16.0)
    for family, source, size in (("wan", wan, (81, 480, 832)), ("cogvideox", cogvideox, (9, 32, 32))):
        plain = tmp_path / family
        shutil.copytree(source, plain)
        (plain / "motiontrace.json").unlink()
        settings = GenerationSettings.of(find_checkpoint(str(plain)))
        assert (settings.frames, settings.height, settings.width) == size
    recommended = edited(wan, tmp_path, "motiontrace.json", fps=6.0)
    assert GenerationSettings.of(find_checkpoint(str(recommended))).fps == 6.0


def test_size_that_does_not_fit_is_refused(pipeline):
    with pytest.raises(ModelError, match=r"cannot make 6 frames: .* multiple of 2 plus 1"):
        generate(pipeline, PROMPTS[:1], [0], **QUICK | {"frames": 6})
    with pytest.raises(ModelError, match="cannot make 5 frames of 40x32"):
        generate(pipeline, PROMPTS[:1], [0], **QUICK | {"width": 40})


def test_a_seed_is_needed_for_each_prompt(pipeline):
    with pytest.raises(ValueError, match="3 prompts and 1 seeds"):
        generate(pipeline, PROMPTS, [0], **QUICK)


def test_parts_of_other_libraries_are_refused(wan, tmp_path):
    foreign = edited(wan, tmp_path, "model_index.json", scheduler=["subprocess", "Popen"])
    with pytest.raises(ModelError, match="takes its scheduler from 'subprocess'"):
        load_pipeline(str(foreign))


def test_pickled_weights_are_refused(wan, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(wan, pickled)
    for file in (pickled / "transformer").glob("*.safetensors"):
        torch.save({}, file.with_suffix(".bin"))
        file.unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        load_pipeline(str(pickled), device="cpu")
    assert json.loads((pickled / "model_index.json").read_text())["_class_name"] == "WanPipeline"
