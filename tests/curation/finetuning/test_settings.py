"""Settings of a run: what is given, and what the checkpoint says."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup
from pydantic import ValidationError

from motiontrace.attribution.families import find_checkpoint
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.optimizer import make_optimizer
from motiontrace.curation.finetuning.planning import plan_settings, served_timesteps
from motiontrace.curation.finetuning.settings import FinetuneSettings, OptimizerSettings
from tests.checkpoints import edited, tiny_wan


def plan(checkpoint: Path, **given: object) -> FinetuneSettings:
    return plan_settings(find_checkpoint(str(checkpoint)), given, "cpu")


def test_settings_find_their_group_by_name(wan):
    planned = plan(wan, train_steps=7, rank=3, learning_rate=0.01, frames=9, flow_shift=2.0, seed=5)
    assert (planned.train_steps, planned.seed, planned.clips.frames) == (7, 5, 9)
    assert (planned.lora.rank, planned.optimizer.learning_rate, planned.timesteps.flow_shift) == (3, 0.01, 2.0)
    assert planned.lora.target_modules == ("to_q", "to_k", "to_v", "to_out.0")
    assert FinetuneSettings.model_validate_json(planned.model_dump_json()) == planned


def test_mixed_precision_is_bf16_on_a_gpu_unless_told(wan):
    checkpoint = find_checkpoint(str(wan))
    assert plan(wan).mixed_precision == "no"
    assert plan_settings(checkpoint, {}, "cuda:1").mixed_precision == "bf16"
    assert plan_settings(checkpoint, {"mixed_precision": "no"}, "cuda").frozen_dtype == "float32"


def test_timesteps_are_the_checkpoints(wan, cogvideox, tmp_path):
    assert plan(cogvideox).timesteps.whole
    shifted = edited(wan, tmp_path, "scheduler/scheduler_config.json", flow_shift=5.0)
    assert plan(shifted).timesteps.flow_shift == 5.0
    assert plan(shifted, flow_shift=2.0).timesteps.flow_shift == 2.0


def test_settings_of_something_else_are_refused(wan, cogvideox):
    with pytest.raises(FinetuningError, match=r"flow_logit_mean, flow_shift: .* is not trained by flow matching"):
        plan(cogvideox, flow_shift=3.0, flow_logit_mean=1.0)
    with pytest.raises(FinetuningError, match="rank: only training_type lora has an adapter"):
        plan(wan, training_type="full", rank=4)
    with pytest.raises(FinetuningError, match=r"noise_level: .* has one transformer"):
        plan(wan, noise_level="high")
    with pytest.raises(ValidationError, match="train_steps"):
        plan(wan, train_steps=0)
    with pytest.raises(ValidationError, match="mixed_precision"):
        plan(wan, mixed_precision="fp16")


def test_of_two_transformers_one_is_trained_at_the_timesteps_that_it_serves(wan, tmp_path):
    two = edited(wan, tmp_path, "model_index.json", boundary_ratio=0.875)
    with pytest.raises(FinetuningError, match=r"two transformers, .* from 875 on .* --noise-level high or low"):
        plan(two)
    checkpoint, high, low = find_checkpoint(str(two)), plan(two, noise_level="high"), plan(two, noise_level="low")
    assert (high.timesteps.lowest, high.timesteps.highest) == (0.875, 1.0)
    assert (low.timesteps.lowest, low.timesteps.highest) == (0.0, 0.875)
    assert checkpoint.denoiser_folder(served_timesteps(high)) == "transformer"
    assert checkpoint.denoiser_folder(served_timesteps(low)) == "transformer_2"


def test_division_of_a_step_is_no_part_of_what_a_result_follows_from(wan):
    one, other = plan(wan, batch_size=4), plan(wan, gradient_accumulation_steps=4, gradient_checkpointing=True)
    assert one.of_the_result() == other.of_the_result()
    assert one.draws(2) == other.draws(2) == 8
    assert plan(wan, seed=1).of_the_result() != one.of_the_result()


@pytest.mark.parametrize("name", ["constant_with_warmup", "cosine"])
def test_learning_rate_is_that_of_the_diffusers_schedules(name):
    parameter = torch.nn.Parameter(torch.zeros(1))
    settings = OptimizerSettings(learning_rate=0.5, lr_scheduler=name)
    optimizer, schedule = make_optimizer([parameter], settings, 40)
    expected = torch.optim.SGD([parameter], lr=0.5)
    theirs = (
        get_constant_schedule_with_warmup(expected, 4)
        if name == "constant_with_warmup"
        else get_cosine_schedule_with_warmup(expected, 4, 40)
    )
    for _ in range(40):
        assert schedule.get_last_lr() == theirs.get_last_lr()
        optimizer.step()
        expected.step()
        schedule.step()
        theirs.step()


@pytest.mark.parametrize(("steps", "warmup"), [(5, 0), (200, 20), (100_000, 500)])
def test_warmup_is_a_tenth_of_the_steps_at_most_500(steps, warmup):
    assert OptimizerSettings().warmup(steps) == warmup
    assert OptimizerSettings(lr_warmup_steps=7).warmup(steps) == 7


def test_second_transformer_is_trained_and_saved_as_itself(tmp_path, clips):
    from tests.curation.finetuning.runs import run

    two = tiny_wan(tmp_path / "two")
    shutil.copytree(two / "transformer", two / "transformer_2")
    index = json.loads((two / "model_index.json").read_text())
    index |= {"boundary_ratio": 0.5, "transformer_2": ["diffusers", "WanTransformer3DModel"]}
    (two / "model_index.json").write_text(json.dumps(index))
    run(clips, two, tmp_path / "out", training_type="full", noise_level="low", train_steps=2)
    name = "diffusion_pytorch_model.safetensors"
    base = (two / "transformer" / name).read_bytes()
    assert (tmp_path / "out/transformer" / name).read_bytes() == base
    assert (tmp_path / "out/transformer_2" / name).read_bytes() != base
