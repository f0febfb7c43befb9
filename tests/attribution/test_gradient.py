"""The motion loss and its gradient against finite differences, diffusers' own training loss, and a full backward."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

from motiontrace.attribution.engine import MotionEngine, PreparedClip, load_engine, plan_recipe
from motiontrace.attribution.errors import GradientError, ModelError, RecipeMismatchError
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.gradient import attributed_parameters, motion_loss, unit
from motiontrace.attribution.motion import MotionSummary
from motiontrace.attribution.preparation import content_seed
from motiontrace.attribution.projection import Sketch, make_projection
from motiontrace.attribution.video import VideoInfo, read_video
from tests.attribution.videos import write_video
from tests.checkpoints import edited, tiny_wan

CAPTION = "a ball falls"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> MotionEngine:
    return make_engine(checkpoint)


def make_engine(checkpoint: Path, **settings: object) -> MotionEngine:
    return load_engine(str(checkpoint), plan_recipe(find_checkpoint(str(checkpoint)), settings), device="cpu")


def autograd(engine: MotionEngine, *clips: PreparedClip) -> dict[str, torch.Tensor]:
    """The whole gradient of an exact engine's loss, as autograd forms it, by parameter."""
    parameters = dict(engine._model.denoiser.named_parameters())
    loss = engine.losses(clips, [CAPTION] * len(clips)).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, gradients, strict=True) if g is not None}


@cache
def clip(
    seed: int = 0, frames: int = 5, uniform: bool = False, grid: tuple[int, int, int] | None = None
) -> PreparedClip:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    grid = grid or ((frames + 1) // 2, 8, 8)
    weight = torch.ones(grid) if uniform else torch.from_numpy(rng.random(grid, dtype=np.float32))
    info = VideoInfo(width=32, height=32, frames=frames, seconds=1.0, fps=5.0, codec="raw", container="raw", rotation=0)
    motion = MotionSummary(1.0, 2.0, True, (1.0,) * frames)
    return PreparedClip(pixels, weight, info, motion, None, {}, content_seed(pixels))


def test_uniform_weight_gives_the_training_loss_of_the_diffusers_script(checkpoint, engine):
    """The lines of diffusers' flow-matching training scripts, on the pipeline's own parts."""
    pipeline = WanPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    vae, transformer = pipeline.vae, pipeline.transformer
    prepared = clip(uniform=True)
    with torch.no_grad():
        pixels = torch.from_numpy(prepared.frames)[None].permute(0, 4, 1, 2, 3) / 127.5 - 1
        model_input = vae.encode(pixels).latent_dist.mode()
        mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
        model_input = (model_input - mean) * (1.0 / torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1))
        embedding, _ = pipeline.encode_prompt(CAPTION, do_classifier_free_guidance=False, max_sequence_length=24)
        scheduler = FlowMatchEulerDiscreteScheduler()
        index = int((scheduler.timesteps == engine.recipe.timesteps[0]).nonzero())
        timestep, sigma = scheduler.timesteps[index], scheduler.sigmas[index]
        noise = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 4, 3, 8, 8)).astype(np.float32))
        noisy = (1.0 - sigma) * model_input + sigma * noise
        predicted = transformer(noisy, timestep[None], embedding, return_dict=False)[0]
        target = noise - model_input
        expected = torch.mean((predicted.float() - target.float()) ** 2).item()
    assert prepared.frames.shape[0] * engine.losses([prepared], [CAPTION]).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_of_the_motion_loss_matches_finite_differences(checkpoint):
    """Along one direction a parameter, half the gradient's own and half random, in the model's own float32."""
    engine = make_engine(checkpoint, gradients="exact")
    generator = torch.Generator().manual_seed(1)
    step, checked = 1e-2, 0
    for name, gradient in autograd(engine, clip()).items():
        parameter = engine._model.denoiser.get_parameter(name)
        if gradient.norm() < 1e-5:  # too flat for float32 differences
            continue
        random = torch.randn(parameter.shape, generator=generator)
        direction = (gradient / gradient.norm() + random / random.norm()) / 2
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter += sign * step * direction
                values.append(engine.losses([clip()], [CAPTION]).item())
                parameter -= sign * step * direction
        slope = (values[0] - values[1]) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=0.03, abs=2e-6), name
        checked += 1
    assert checked > 30


@pytest.mark.parametrize("kind", ["count_sketch", "fastfood"])
def test_streamed_projection_is_the_projection_of_the_whole_gradient(checkpoint, kind):
    engine = make_engine(checkpoint, gradients="exact", projection={"kind": kind})
    whole = Sketch(make_projection(engine.recipe.projection), 1)
    for name, gradient in autograd(engine, clip()).items():
        whole.add(name, gradient[None])
    (sketch,) = engine.sketch([clip()], [CAPTION])
    assert sketch.vector.shape == (16_384,)
    assert np.allclose(sketch.vector, unit(whole.vectors()[0]), atol=1e-6)
    folded = whole.vectors()[0].view(-1, 512).sum(0)
    assert np.allclose(engine.finish(sketch).vector, unit(folded), atol=1e-6)
    assert all(parameter.grad is None for parameter in engine._model.denoiser.parameters())


def test_vector_is_a_unit_of_float32_and_its_own_best_match(engine):
    vectors = [engine.gradient(clip(seed), CAPTION).vector for seed in range(4)]
    scores = np.stack(vectors) @ vectors[2]
    assert vectors[0].dtype == np.float32
    assert vectors[0].shape == (512,)
    assert scores[2] == pytest.approx(1.0, abs=1e-6)
    assert scores.argmax() == 2


def test_same_clip_gives_the_same_vector_again_and_in_another_engine(checkpoint, engine):
    first = engine.gradient(clip(), CAPTION).vector
    engine.gradient(clip(1), "something else")
    assert np.array_equal(first, engine.gradient(clip(), CAPTION).vector)
    assert np.allclose(first, make_engine(checkpoint).gradient(clip(), CAPTION).vector, atol=1e-6)


def test_bfloat16_gives_nearly_the_same_direction(checkpoint, engine):
    half = make_engine(checkpoint, dtype="bfloat16")
    assert half._model.denoiser.dtype == torch.bfloat16
    score = float(half.gradient(clip(), CAPTION).vector @ engine.gradient(clip(), CAPTION).vector)
    assert 0.98 < score < 0.999999


def test_number_of_frames_in_the_file_does_not_change_the_gradient(engine, tmp_path):
    """The same motion told in 9, 18 and 36 frames: without the fixed length and the unit norm, long clips would win."""
    rng = np.random.default_rng(0)
    wall, square = rng.integers(60, 90, (64, 64, 3), np.uint8), rng.integers(150, 255, (16, 16, 3), np.uint8)
    pictures = np.stack([wall] * 9)
    for number, picture in enumerate(pictures):
        picture[24:40, 4 + 5 * number : 20 + 5 * number] = square
    vectors = []
    for repeats in (1, 2, 4):
        path = write_video(tmp_path / f"{repeats}.mp4", list(np.repeat(pictures, repeats, axis=0)), rate=8 * repeats)
        result = engine.compute(path, CAPTION)
        assert result.info.frames == 9 * repeats
        vectors.append(result.vector)
    assert min(vectors[0] @ vectors[1], vectors[0] @ vectors[2]) > 0.95


def test_a_clip_may_be_decoded_elsewhere(engine, tmp_path):
    asked = []

    def decode(path, **arguments):
        asked.append((path, arguments))
        return read_video(path, **arguments)

    path = write_video(tmp_path / "clip.mp4", list(np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)))
    elsewhere, here = engine.compute(path, CAPTION, decode=decode), engine.compute(path, CAPTION)
    assert np.array_equal(elsewhere.vector, here.vector)
    assert [given for given, _ in asked] == [path] and set(asked[0][1]) == {"frames", "height", "width", "fps"}


@pytest.mark.parametrize("gradients", ["exact", "factorised"])
def test_failed_backward_pass_leaves_nothing_for_the_next_clip(checkpoint, monkeypatch, gradients):
    engine = make_engine(checkpoint, gradients=gradients)
    before = engine.gradient(clip(), CAPTION).vector

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Sketch, "add", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.gradient(clip(1), CAPTION)
    monkeypatch.undo()
    assert np.array_equal(before, engine.gradient(clip(), CAPTION).vector)


def test_token_timesteps_of_wan_2_2_ti2v_change_nothing_for_text_to_video(checkpoint, engine, tmp_path):
    other = make_engine(edited(checkpoint, tmp_path, "model_index.json", expand_timesteps=True))
    assert other.recipe.checkpoint != engine.recipe.checkpoint
    assert np.allclose(other.gradient(clip(), CAPTION).vector, engine.gradient(clip(), CAPTION).vector, atol=1e-5)


def test_wan_2_2_a14b_attributes_the_transformer_that_serves_the_timestep(checkpoint, tmp_path):
    other = edited(checkpoint, tmp_path, "model_index.json", boundary_ratio=0.875)
    low = tiny_wan(tmp_path / "low", seed=5)
    shutil.copytree(low / "transformer", other / "transformer_2")
    noisy, clean = (make_engine(other, timesteps=[timestep])._model.denoiser for timestep in (900, 751))
    expected = make_engine(low)._model.denoiser.proj_out.weight
    assert torch.equal(clean.proj_out.weight, expected)
    assert not torch.equal(noisy.proj_out.weight, expected)
    with pytest.raises(ModelError, match="give timesteps of one side"):
        make_engine(other, timesteps=[900, 751])


def test_digest_covers_configuration_and_tokenizer_but_not_where_it_was_saved(checkpoint, tmp_path):
    digest = find_checkpoint(str(checkpoint)).digest()
    vae = edited(checkpoint, tmp_path / "a", "vae/config.json", latents_mean=[0.0] * 4)
    tokenizer = edited(checkpoint, tmp_path / "b", "tokenizer/tokenizer_config.json", model_max_length=8)
    moved = edited(checkpoint, tmp_path / "c", "vae/config.json", _name_or_path="elsewhere")
    assert find_checkpoint(str(vae)).digest() != digest
    assert find_checkpoint(str(tokenizer)).digest() != digest
    assert find_checkpoint(str(moved)).digest() == digest


def test_schedulers_of_flow_matching_are_taken_and_others_refused(checkpoint, tmp_path):
    file = "scheduler/scheduler_config.json"
    make_engine(
        edited(checkpoint, tmp_path / "a", file, _class_name="FlowMatchEulerDiscreteScheduler", prediction_type=None)
    )
    with pytest.raises(ModelError, match="Is this a Wan checkpoint"):
        make_engine(edited(checkpoint, tmp_path / "b", file, prediction_type="epsilon"))


def test_damaged_weights_and_unknown_devices_are_said(checkpoint, tmp_path):
    with pytest.raises(ModelError, match="could not be loaded on gpu"):
        load_engine(str(checkpoint), plan_recipe(find_checkpoint(str(checkpoint)), {}), device="gpu")
    broken = edited(checkpoint, tmp_path, "vae/config.json")
    (broken / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="could not be loaded"):
        make_engine(broken)


def test_clip_without_motion_has_no_vector(engine):
    still = clip()
    motion = MotionSummary(0.0, 0.0, False, (0.0,) * 5)
    prepared = PreparedClip(still.frames, still.weight, still.info, motion, None, {}, still.noise_seed)
    outcome = engine.gradient(prepared, CAPTION)
    assert outcome.vector is None
    assert outcome.loss is None


def test_weight_stands_outside_the_square_and_only_where_something_moves():
    prediction, target = torch.randn(1, 4, 3, 8, 8), torch.randn(1, 4, 3, 8, 8)
    weight = torch.zeros(1, 3, 8, 8)
    weight[0, 1, 2, 3] = 0.5
    expected = 0.5 * ((prediction - target)[0, :, 1, 2, 3] ** 2).sum() / (4 * 3 * 8 * 8) / 5
    assert motion_loss(prediction, target, weight, frames=5).item() == pytest.approx(expected.item(), rel=1e-5)


def test_patterns_choose_the_attributed_parameters(engine):
    denoiser = engine._model.denoiser
    chosen = attributed_parameters(denoiser, ["blocks.1.*", "proj_out.weight"])
    assert "proj_out.weight" in chosen
    assert all(name.startswith("blocks.1.") or name == "proj_out.weight" for name in chosen)
    with pytest.raises(ModelError, match="no parameter of the denoiser matches nothing"):
        attributed_parameters(denoiser, ["nothing"])


def test_unusable_gradients_are_refused_not_ranked():
    with pytest.raises(GradientError, match="not finite"):
        unit(torch.tensor([1.0, float("nan")]))
    with pytest.raises(GradientError, match="zero"):
        unit(torch.zeros(3))


def test_another_checkpoint_is_refused_by_the_field_that_differs(checkpoint, engine, tmp_path):
    other = tiny_wan(tmp_path / "other", seed=1)
    with pytest.raises(RecipeMismatchError, match="checkpoint: "):
        load_engine(str(other), engine.recipe)


def test_sizes_that_do_not_fit_are_refused_with_the_nearest_that_do(checkpoint):
    with pytest.raises(ModelError, match="The nearest is 17 frames of 32x32"):
        make_engine(checkpoint, frames=16, height=34)
