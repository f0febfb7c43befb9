"""Factorised gradients against autograd's own, layer by layer and on the real models."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from motiontrace.attribution.engine import MotionEngine, load_engine, plan_recipe
from motiontrace.attribution.errors import GradientError, ModelError
from motiontrace.attribution.factorised import FactorisedGradients, random_directions
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.gradient import ExactGradients
from motiontrace.attribution.projection import CountSketch, Sketch, random_key
from tests.attribution.test_gradient import clip
from tests.checkpoints import edited, tiny_cogvideox, tiny_wan

WHOLE = 65_536  # more directions than any layer here has: nothing is lost, and the gradient must be autograd's
CAPTIONS = ["a ball falls", "b", "a red box slides to a halt", "spin"]


class Zoo(nn.Module):
    """Every way in which a parameter is met: linear layers on 2-D and 3-D values, one called twice, one shared by two
    places, patch convolutions, norms, biases, a table, and what no hook sees."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv3d(2, 12, kernel_size=(1, 2, 2), stride=(1, 2, 2))
        self.frames = nn.Conv2d(2, 12, kernel_size=2, stride=2)
        self.twice = nn.Linear(12, 12)
        self.time = nn.Linear(5, 12)
        self.shared = nn.Linear(12, 12, bias=False)
        self.places = nn.ModuleList([nn.Sequential(self.shared, nn.GELU()), nn.Sequential(nn.Tanh(), self.shared)])
        self.tied = nn.Linear(12, 12, bias=False)
        self.tied.weight = self.shared.weight
        self.layer_norm, self.rms_norm = nn.LayerNorm(12), nn.RMSNorm(12)
        self.heads = nn.LayerNorm(4)
        self.table = nn.Parameter(torch.randn(1, 2, 12))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4)

    def forward(self, video: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(video).flatten(2).transpose(1, 2)
        pictures = video.transpose(1, 2).flatten(0, 1)
        tokens = tokens + self.frames(pictures).unflatten(0, video.shape[::2][:2]).flatten(3).transpose(2, 3).flatten(
            1, 2
        )
        shift, scale = (self.table + self.time(time)[:, None]).chunk(2, dim=1)
        tokens = self.twice(torch.tanh(self.twice(self.layer_norm(tokens)))) * scale + shift
        tokens = self.tied(self.places[1](self.places[0](tokens)))
        values = self.heads(tokens.unflatten(-1, (3, 4)))
        values[..., :2] = values[..., 2:] * 2  # in place, as rotary embeddings are in some attention layers
        return self.rms_norm(values.flatten(-2))


class Odd(Zoo):
    """Parameters that are used without their module, by a module of another kind, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.functional, self.unused = nn.Linear(12, 12), nn.Linear(3, 3)
        self.mixing = nn.Conv1d(12, 12, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(12))

    def forward(self, video: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        tokens = super().forward(video, time)
        tokens = torch.nn.functional.linear(tokens, self.functional.weight, self.functional.bias)
        return self.mixing(tokens.transpose(1, 2)) * self.gain[:, None]


def samples(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 2, 3, 4, 4, generator=generator), torch.randn(batch, 5, generator=generator)


def losses(module: nn.Module, video: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    return module(video, time).square().flatten(1).mean(1)


def expected(module: nn.Module, batch: int) -> torch.Tensor:
    """Autograd's own gradient of each sample alone, sketched."""
    parameters = {name: parameter.requires_grad_(True) for name, parameter in module.named_parameters()}
    sketch = Sketch(CountSketch(3, 256), batch)
    rows = []
    for video, time in zip(*samples(batch), strict=True):
        loss = losses(module, video[None], time[None]).sum()
        rows.append(torch.autograd.grad(loss, list(parameters.values()), allow_unused=True))
    for name, gradients in zip(parameters, zip(*rows, strict=True), strict=True):
        if gradients[0] is not None:
            sketch.add(name, torch.stack(gradients))
    return sketch.vectors()


def factorised(module: nn.Module, factors: int = WHOLE) -> FactorisedGradients:
    parameters = dict(module.named_parameters())
    return FactorisedGradients(module, parameters, CountSketch(3, 256), factors=factors, seed=1, tables=["table"])


def test_each_sample_of_a_batch_has_autograds_own_gradient():
    torch.manual_seed(0)
    module = Zoo()
    wanted = expected(module, 4)
    gradients = factorised(module)
    found = gradients.sketch(4, [lambda: losses(module, *samples(4))])
    assert gradients.largest_batch is None
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_what_no_hook_sees_is_left_to_autograd_and_a_batch_is_refused():
    torch.manual_seed(0)
    module = Odd()
    wanted = expected(module, 1)
    gradients = factorised(module)
    found = gradients.sketch(1, [lambda: losses(module, *samples(1))])
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert gradients.largest_batch == 1
    left = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert left == {"functional.weight", "functional.bias", "mixing.weight", "mixing.bias", "gain"}
    with pytest.raises(ModelError, match=r"cannot be told apart for functional\.bias"):
        gradients.sketch(2, [lambda: losses(module, *samples(2))])


def test_what_is_left_to_autograd_is_found_before_a_batch_is_tried():
    module = Odd()
    gradients = factorised(module)
    assert not gradients.tell_apart(lambda clips: losses(module, *(values[clips] for values in samples(2))))
    assert gradients.largest_batch == 1


def test_gradients_of_several_losses_are_added_up():
    torch.manual_seed(0)
    module = Zoo()
    gradients = factorised(module)
    terms = [lambda: losses(module, *samples(2)), lambda: 3 * losses(module, *samples(2))]
    one = gradients.sketch(2, terms[:1])
    assert (gradients.sketch(2, terms) - 4 * one).abs().max() < 1e-4 * one.abs().max()


def test_values_that_do_not_hold_the_samples_first_are_refused():
    linear = nn.Linear(4, 4)
    gradients = factorised(linear)
    with pytest.raises(ModelError, match="Use --gradients exact"):
        gradients.sketch(2, [lambda: linear(torch.ones(3, 4)).sum(1)[:2]])


class FramesFirst(nn.Module):
    """A layer that sees the samples on its second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize(("module", "apart"), [(FramesFirst(), False), (nn.Linear(4, 4), True)])
def test_samples_that_a_layer_mixes_up_are_noticed(module: nn.Module, apart: bool):
    generator = torch.Generator().manual_seed(0)
    values, aims = torch.randn(2, 2, 6, 4, generator=generator)
    gradients = factorised(module)
    assert gradients.tell_apart(lambda clips: (module(values[clips]) * aims[clips]).sum((1, 2))) is apart
    assert gradients.largest_batch == (None if apart else 1)


def test_exact_and_factorised_gradients_of_one_model_do_not_disturb_each_other():
    torch.manual_seed(0)
    module = Zoo()
    wanted = expected(module, 1)
    parameters = dict(module.named_parameters())
    ways = factorised(module), ExactGradients(parameters, CountSketch(3, 256))
    for way in (*ways, *ways):
        found = way.sketch(1, [lambda: losses(module, *samples(1))])
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_nothing_is_captured_outside_a_pass():
    module = Zoo()
    factorised(module)
    assert not losses(module, *samples(2)).requires_grad


def test_factors_keep_inner_products_on_average_and_closer_the_more_there_are():
    """Over seeds: unbiased, and the spread falls about as 1 / factors."""
    torch.manual_seed(0)
    linear = nn.Linear(96, 80, bias=False)
    values = torch.randn(2, 10, 96) + torch.randn(96)
    aims = torch.randn(2, 10, 80) + torch.randn(80)

    def loss() -> torch.Tensor:
        return (linear(values) * aims).sum((1, 2))

    whole = torch.stack([aims[i].T @ values[i] for i in range(2)]).flatten(1)
    cosine = float(torch.nn.functional.cosine_similarity(whole[:1], whole[1:]))
    spreads = []
    for factors in (4, 16):
        errors = []
        for seed in range(150):
            gradients = FactorisedGradients(
                linear, {"weight": linear.weight}, CountSketch(seed, 16_384), factors=factors, seed=seed
            )
            one, other = gradients.sketch(2, [loss])
            errors.append(float(one @ other / whole.norm(dim=1).prod()) - cosine)
            linear._forward_hooks.clear()
            linear._forward_hooks_with_kwargs.clear()
        spreads.append(np.std(errors))
        assert abs(np.mean(errors)) < 3 * spreads[-1] / np.sqrt(len(errors))
    assert spreads[1] < 0.6 * spreads[0]


@given(size=st.integers(2, 300), count=st.integers(1, 64), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_directions_have_equal_entries_and_are_drawn_from_their_key(size: int, count: int, seed: int):
    core, signs = random_directions(random_key("test", seed, "a"), size, count)
    if count >= size:
        assert core is None
        return
    assert core.shape[1] == count
    assert len(core) <= max(size * 2, 8 * count)
    assert signs.shape == (size,)
    assert torch.allclose(core.abs(), torch.full_like(core, count**-0.5))
    again = random_directions(random_key("test", seed, "a"), size, count)
    assert torch.equal(core, again[0])
    assert torch.equal(signs, again[1])


def test_directions_never_change():
    """An index made today can be queried in ten years."""
    core, signs = random_directions(random_key("factors in", 0, "blocks.0.ffn.net.0.proj.weight"), 40, 4)
    assert core.shape == (16, 4)
    assert (core[:3] * 2).int().tolist() == [[1, 1, 1, 1], [1, -1, -1, 1], [-1, -1, 1, 1]]
    assert signs[:12].int().tolist() == [1, 1, -1, 1, 1, -1, -1, 1, 1, 1, -1, -1]


@pytest.fixture(scope="module", params=["wan", "wan_tokens", "cogvideox"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "cogvideox":
        return tiny_cogvideox(folder)
    wan = tiny_wan(folder / "wan")
    return wan if request.param == "wan" else edited(wan, folder, "model_index.json", expand_timesteps=True)


def make_engine(checkpoint: Path, **recipe: object) -> MotionEngine:
    return load_engine(str(checkpoint), plan_recipe(find_checkpoint(str(checkpoint)), recipe), device="cpu")


def sketches(engine: MotionEngine, batch: int) -> np.ndarray:
    engine.batch = batch
    clips = [clip(seed, engine.recipe.frames, grid=engine._latent_shape[1:]) for seed in range(4)]
    found = engine.sketch(clips, CAPTIONS)
    assert not any(isinstance(sketch, GradientError) for sketch in found)
    return np.stack([sketch.vector for sketch in found])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-3)])
def test_real_models_give_the_exact_gradients_in_any_batch(checkpoint, dtype, tolerance):
    """With every direction kept; with and without gradient checkpointing."""
    exact = sketches(make_engine(checkpoint, gradients="exact", dtype=dtype), 1)
    engine = make_engine(checkpoint, dtype=dtype, projection={"factors": WHOLE})
    for batch in (1, 4):
        assert np.abs(sketches(engine, batch) - exact).max() < tolerance
    engine._model.denoiser.enable_gradient_checkpointing()
    assert np.abs(sketches(engine, 4) - exact).max() < tolerance


def test_vector_depends_neither_on_batch_nor_on_order(checkpoint):
    """To float32 rounding: what the README states."""
    engine = make_engine(checkpoint, projection={"factors": 4})
    single = sketches(engine, 1)
    assert np.abs(sketches(engine, 3) - single).max() < 1e-6
    clips = [clip(seed, engine.recipe.frames, grid=engine._latent_shape[1:]) for seed in (3, 1, 2, 0)]
    shuffled = engine.sketch(clips, [CAPTIONS[seed] for seed in (3, 1, 2, 0)])
    assert np.abs(shuffled[3].vector - single[0]).max() < 1e-6


def test_factorised_gradients_rank_as_the_exact_ones_do(checkpoint):
    exact, few = (
        sketches(make_engine(checkpoint, **recipe), 1)
        for recipe in ({"gradients": "exact"}, {"projection": {"factors": 12}})
    )
    upper = np.triu_indices(4, 1)
    assert np.abs((exact @ exact.T - few @ few.T)[upper]).max() < 0.1


@pytest.mark.parametrize(
    ("blocks", "compile_model"),
    [  # two blocks share their code
        (2, lambda denoiser: [block.compile(backend="aot_eager") for block in denoiser.blocks]),
        (1, lambda denoiser: denoiser.compile(backend="aot_eager", fullgraph=True)),
    ],
    ids=["blocks", "whole"],
)
def test_compiled_models_give_the_same_gradients(
    tmp_path: Path, blocks: int, compile_model: Callable[[nn.Module], object]
):
    folder = tiny_wan(tmp_path, blocks=blocks)
    plain, compiled = (make_engine(folder, projection={"factors": 4}) for _ in range(2))
    compile_model(compiled._model.denoiser)
    assert np.abs(sketches(compiled, 2) - sketches(plain, 2)).max() < 1e-5


def test_one_broken_clip_of_a_batch_costs_no_other(tmp_path: Path):
    engine = make_engine(tiny_wan(tmp_path))
    engine.batch = 4
    clips = [clip(seed) for seed in range(4)]
    whole = engine.sketch(clips, CAPTIONS)
    clips[1] = replace(clips[1], weight=torch.full_like(clips[1].weight, float("nan")))
    found = engine.sketch(clips, CAPTIONS)
    assert isinstance(found[1], GradientError)
    for place in (0, 2, 3):
        assert np.allclose(found[place].vector, whole[place].vector, atol=1e-6)


def test_several_timesteps_and_noises_are_averaged(tmp_path: Path):
    """The gradient of the mean loss is the mean of the gradients."""
    folder = tiny_wan(tmp_path)
    averaged = make_engine(folder, timesteps=[751, 300], noise_draws=2)
    (sketch,) = averaged.sketch([clip()], CAPTIONS[:1])
    total, loss = np.zeros(16_384), 0.0
    for timestep in (751, 300):
        for draw in range(2):
            engine = make_engine(folder, timesteps=[timestep], gradients="exact", projection={"factors": WHOLE})
            engine._objective._noise = averaged._objective._noise[draw : draw + 1]
            (value,) = engine.losses([clip()], CAPTIONS[:1])
            total += engine._gradients.sketch(1, [lambda e=engine: e.losses([clip()], CAPTIONS[:1])])[0].numpy()
            loss += value.item() / 4
    assert sketch.loss == pytest.approx(loss, rel=1e-5)
    assert np.allclose(sketch.vector, total / np.linalg.norm(total), atol=1e-5)
    first = make_engine(folder)
    assert torch.equal(first._objective._noise[0], averaged._objective._noise[0])
