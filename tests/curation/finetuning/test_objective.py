"""The training loss and its timesteps against diffusers' own training formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import (
    VideoDenoiser,
    VideoDiffusionModel,
    find_checkpoint,
    load_denoiser,
    load_model,
)
from motiontrace.attribution.families.cogvideox import rotary_embedding
from motiontrace.curation.finetuning.objective import (
    TimestepSettings,
    checkpoint_timesteps,
    sample_timesteps,
    training_loss,
)
from tests.checkpoints import edited

PROMPTS = ("a ball falls", "a star rolls", "")


def load(checkpoint: Path) -> VideoDiffusionModel:
    return load_model(find_checkpoint(str(checkpoint)), timesteps=[751], dtype="float32", device="cpu")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw(count: int, settings: TimestepSettings, seed: int = 0) -> torch.Tensor:
    return sample_timesteps(count, torch.Generator().manual_seed(seed), settings, 1000)


def prompts_of(model: VideoDiffusionModel) -> torch.Tensor:
    return torch.cat([model.encode_prompt(prompt) for prompt in PROMPTS])


def losses(model: VideoDenoiser, timesteps: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
    latent, noise = random(3, 4, 3, 8, 8), random(3, 4, 3, 8, 8, seed=1)
    return training_loss(model, latent, prompts, timesteps, noise)


@torch.no_grad()
def test_loss_of_wan_is_that_of_the_diffusers_flow_matching_scripts(wan):
    """Their lines: sigmas of the scheduler by timestep, (1 - sigma) x + sigma noise, mean of (pred - (noise - x))^2."""
    model, scheduler = load(wan), FlowMatchEulerDiscreteScheduler()
    indices = torch.tensor([3, 400, 990])
    timesteps, sigmas = scheduler.timesteps[indices], scheduler.sigmas[indices].view(-1, 1, 1, 1, 1)
    model_input, noise, prompts = random(3, 4, 3, 8, 8), random(3, 4, 3, 8, 8, seed=1), prompts_of(model)
    noisy = (1.0 - sigmas) * model_input + sigmas * noise
    prediction = model.denoiser(noisy, timesteps, prompts, return_dict=False)[0]
    expected = ((prediction.float() - (noise - model_input).float()) ** 2).reshape(3, -1).mean(1)
    assert torch.allclose(losses(model, timesteps, prompts), expected, rtol=1e-5)


@torch.no_grad()
def test_loss_of_cogvideox_is_that_of_the_diffusers_script(cogvideox):
    """Its lines: the clean latent out of the velocity, its error weighed by 1 / (1 - alphas_cumprod)."""
    model = load(cogvideox)
    scheduler = CogVideoXDPMScheduler.from_pretrained(cogvideox, subfolder="scheduler")
    timesteps = torch.tensor([20, 400, 999])
    clean, noise, prompts = random(3, 4, 3, 8, 8), random(3, 4, 3, 8, 8, seed=1), prompts_of(model)
    model_input = clean.permute(0, 2, 1, 3, 4)
    noisy = scheduler.add_noise(model_input, noise.permute(0, 2, 1, 3, 4), timesteps)
    rotary = rotary_embedding(model.denoiser.config, 3, 8, 8, torch.device("cpu"))
    output = model.denoiser(noisy, prompts, timesteps, image_rotary_emb=rotary, return_dict=False)[0]
    prediction = scheduler.get_velocity(output, noisy, timesteps)
    weights = (1 / (1 - scheduler.alphas_cumprod[timesteps])).view(-1, 1, 1, 1, 1)
    expected = (weights * (prediction - model_input) ** 2).reshape(3, -1).mean(1).float()
    assert torch.allclose(losses(model, timesteps.float(), prompts), expected, rtol=1e-4)


@pytest.mark.parametrize("family", ["wan", "cogvideox"])
@torch.no_grad()
def test_a_timestep_for_each_sample_is_what_each_has_alone(family, request):
    model = load(request.getfixturevalue(family))
    prompts, timesteps = prompts_of(model), torch.tensor([12.0, 751.0, 999.0])
    together = losses(model, timesteps, prompts)
    latent, noise = random(3, 4, 3, 8, 8), random(3, 4, 3, 8, 8, seed=1)
    for sample, timestep in enumerate(timesteps.tolist()):
        place = slice(sample, sample + 1)
        noisy = model.add_noise(latent[place], noise[place], timestep)
        alone = model.predict(noisy, timestep, prompts[place]) - model.target(latent[place], noise[place], timestep)
        assert together[sample] == pytest.approx(alone.square().mean().item(), rel=1e-5)
    assert len(set(together.tolist())) == 3


@torch.no_grad()
def test_wan_with_a_timestep_a_token_takes_one_for_each_sample(wan, tmp_path):
    model = load(edited(wan, tmp_path, "model_index.json", expand_timesteps=True))
    whole, prompts = load(wan), prompts_of(load(wan))
    timesteps = torch.tensor([12.0, 751.0, 999.0])
    assert torch.allclose(losses(model, timesteps, prompts), losses(whole, timesteps, prompts), rtol=1e-5)


@pytest.mark.parametrize("family", ["wan", "cogvideox"])
@torch.no_grad()
def test_denoiser_alone_has_the_loss_of_the_whole_model(family, request):
    checkpoint = request.getfixturevalue(family)
    alone = load_denoiser(find_checkpoint(str(checkpoint)), timesteps=[751], dtype="float32", device="cpu")
    prompts, timesteps = prompts_of(load(checkpoint)), torch.tensor([12.0, 751.0, 999.0])
    assert torch.equal(losses(alone, timesteps, prompts), losses(load(checkpoint), timesteps, prompts))


@pytest.mark.parametrize(("mean", "std", "shift"), [(0.0, 1.0, 1.0), (0.0, 1.0, 3.0), (-0.5, 1.4, 5.0)])
def test_flow_matching_timesteps_have_the_density_of_diffusers_training(mean, std, shift):
    settings = TimestepSettings(flow_logit_mean=mean, flow_logit_std=std, flow_shift=shift)
    u = compute_density_for_timestep_sampling(
        "logit_normal", 20_000, mean, std, generator=torch.Generator().manual_seed(1)
    )
    shifted = shift * u / (1 + (shift - 1) * u)  # as FlowMatchEulerDiscreteScheduler shifts its sigmas
    found = draw(20_000, settings)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1000
    assert stats.ks_2samp(found.numpy(), 1000 * shifted.numpy()).pvalue > 0.01


def test_shift_is_the_schedulers_own():
    sigmas = torch.linspace(0.001, 1, 1000).flip(0)
    shifted = FlowMatchEulerDiscreteScheduler(shift=3.0).sigmas[:1000]
    uniform = TimestepSettings(flow_weighting_scheme="uniform", flow_shift=3.0)
    quantiles = np.quantile(draw(200_000, uniform).numpy() / 1000, sigmas.numpy())
    assert np.allclose(quantiles, shifted.numpy(), atol=0.01)


def test_schedules_of_variances_have_whole_timesteps_all_alike(cogvideox):
    settings = checkpoint_timesteps(find_checkpoint(str(cogvideox)))
    found = draw(50_000, settings)
    assert torch.equal(found, found.round())
    counts = np.bincount(found.int().numpy(), minlength=1000)
    assert len(counts) == 1000
    assert stats.chisquare(counts).pvalue > 0.01


@given(
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: pair[0] + 1e-3 < pair[1]),
    shift=st.floats(0.2, 12),
    scheme=st.sampled_from(["logit_normal", "uniform"]),
)
def test_timesteps_stay_between_their_bounds(bounds, shift, scheme):
    settings = TimestepSettings(
        flow_weighting_scheme=scheme, flow_shift=shift, lowest=min(bounds[0], 0.99), highest=bounds[1]
    )
    found = draw(50, settings)
    assert found.min() >= 1000 * settings.lowest - 1e-3
    assert found.max() <= 1000 * settings.highest + 1e-3


def test_bounded_timesteps_have_the_density_of_the_unbounded_between_them():
    whole, part = TimestepSettings(flow_shift=5.0), TimestepSettings(flow_shift=5.0, lowest=0.5, highest=0.9)
    unbounded = draw(60_000, whole, seed=1).numpy()
    between = unbounded[(unbounded >= 500) & (unbounded <= 900)]
    assert stats.ks_2samp(draw(20_000, part).numpy(), between).pvalue > 0.01


def test_same_generator_draws_the_same_timesteps():
    assert torch.equal(draw(5, TimestepSettings(), seed=3), draw(5, TimestepSettings(), seed=3))
    assert not torch.equal(draw(5, TimestepSettings(), seed=3), draw(5, TimestepSettings(), seed=4))


@pytest.mark.parametrize(
    ("config", "shift"), [({"flow_shift": 3.0}, 3.0), ({"shift": 5.0, "flow_shift": 5.0}, 5.0), ({}, 1.0)]
)
def test_shift_comes_from_the_checkpoints_scheduler(wan, tmp_path, config, shift):
    checkpoint = find_checkpoint(str(edited(wan, tmp_path, "scheduler/scheduler_config.json", **config)))
    assert checkpoint_timesteps(checkpoint) == TimestepSettings(flow_shift=shift)


def test_shift_that_is_none_is_refused(wan, tmp_path):
    checkpoint = find_checkpoint(str(edited(wan, tmp_path, "scheduler/scheduler_config.json", flow_shift=-1)))
    with pytest.raises(ModelError, match=r"scheduler_config\.json does not say how noise levels are shifted"):
        checkpoint_timesteps(checkpoint)
    with pytest.raises(ValueError, match="lowest must be below highest"):
        TimestepSettings(lowest=0.9, highest=0.5)
