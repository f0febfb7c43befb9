"""The options of the loss: what each is, and that every way to its gradient agrees."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from motiontrace.attribution.engine import ClipSketch, MotionEngine, load_engine, plan_recipe
from motiontrace.attribution.errors import GradientError, ModelError
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.gradient import channel_scales, contrast, motion_loss, weighted_error
from motiontrace.attribution.preparation import PreparedClip
from motiontrace.attribution.video import DecodedVideo, VideoInfo
from tests.attribution.test_gradient import clip

CAPTIONS = ["a ball falls", "b", "a red box slides to a halt"]
WHOLE = 65_536
SCALES = (0.25, 2.0, 1.0, 0.75)
OPTIONS: dict[str, dict[str, Any]] = {
    "noise": {"noise": "own", "timesteps": [751, 300]},
    "caption": {"caption": "none"},
    "error": {"error": "frame_difference"},
    "contrast": {"contrast": "time_reversed"},
    "channels": {"latent_normalisation": "channels", "channel_scales": SCALES},
    "all": {
        "caption": "none", "error": "frame_difference", "contrast": "time_reversed", "timesteps": [751, 300],
        "noise": "own",
        "latent_normalisation": "channels", "channel_scales": SCALES,
    },
}  # fmt: skip


def make_engine(checkpoint: Path, **recipe: object) -> MotionEngine:
    return load_engine(str(checkpoint), plan_recipe(find_checkpoint(str(checkpoint)), recipe), device="cpu")


def both_ways(engine: MotionEngine, seed: int) -> PreparedClip:
    """A made-up clip with weights for either direction."""
    grid = engine._latent_shape[1:]
    backward = torch.from_numpy(np.random.default_rng(100 + seed).random(grid, dtype=np.float32))
    return replace(clip(seed, engine.recipe.frames, grid=grid), backward_weight=backward)


def reversed_clip(prepared: PreparedClip) -> PreparedClip:
    return replace(
        prepared, frames=prepared.frames[::-1].copy(), weight=prepared.backward_weight, backward_weight=prepared.weight
    )


def vectors(engine: MotionEngine, clips: list[PreparedClip], batch: int = 1) -> np.ndarray:
    engine.batch = batch
    found = engine.sketch(clips, CAPTIONS[: len(clips)])
    assert all(isinstance(sketch, ClipSketch) for sketch in found), found
    return np.stack([sketch.vector for sketch in found])


# --- the loss -------------------------------------------------------------------------------------------------


@cache
def errors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(2, 2, 4, 3, 5, 6, generator=generator)
    return prediction, target, torch.rand(2, 3, 5, 6, generator=generator)


def test_the_plain_loss_is_the_papers_formula_bit_for_bit():
    """The vectors of every index that was made before there were options hang on it."""
    prediction, target, weight = errors()
    error = (prediction.float() - target.float()).square()
    expected = (weight[:, None].to(error) * error).mean((1, 2, 3, 4)) / 5
    assert torch.equal(motion_loss(prediction, target, weight, 5), expected)


def test_vectors_of_the_papers_recipe_never_change(wan):
    """As they were before there were options."""
    (sketch,) = make_engine(wan).sketch([clip()], CAPTIONS[:1])
    expected = [3.1046767e-4, 7.244954e-5, -8.486295e-5, 1.5749852e-4, 2.3028236e-4, 1.2841127e-4]
    assert sketch.loss == pytest.approx(0.146401137, rel=1e-5)
    assert sketch.vector[:6] == pytest.approx(expected, abs=1e-7)


def test_frame_difference_does_not_see_an_error_that_stays():
    prediction, target, weight = errors()
    stays = torch.randn(2, 4, 1, 5, 6)
    difference = {"frame_difference": True}
    assert torch.allclose(
        motion_loss(prediction + stays, target, weight, 5, **difference),
        motion_loss(prediction, target, weight, 5, **difference),
        rtol=1e-4,
    )
    still = target + stays
    assert motion_loss(still, target, weight, 5, **difference) == pytest.approx(torch.zeros(2), abs=1e-12)
    assert (motion_loss(still, target, weight, 5) > 0.01).all()


def test_frame_difference_is_weighted_by_the_mean_of_both_frames():
    prediction, target, weight = errors()
    error = prediction - target
    expected = torch.zeros(2)
    for first in (0, 1):
        pair = (weight[:, first] + weight[:, first + 1]) / 2
        expected += (pair[:, None] * (error[:, :, first + 1] - error[:, :, first]) ** 2).sum((1, 2, 3))
    expected /= 5 * 4 * 2 * 5 * 6
    assert torch.allclose(motion_loss(prediction, target, weight, 5, frame_difference=True), expected)


@settings(max_examples=25)
@given(channel=st.integers(0, 3), loudness=st.floats(0.05, 20), difference=st.booleans())
def test_normalised_channels_do_not_care_how_loud_a_channel_is(channel: int, loudness: float, difference: bool):
    prediction, target, weight = errors()
    louder = torch.ones(4)
    louder[channel] = loudness
    found = []
    for gain in (torch.ones(4), louder):
        scaled = [values * gain[:, None, None, None] for values in (prediction, target)]
        energy = weighted_error(*scaled, weight, frame_difference=difference).mean((2, 3, 4)).mean(0)
        found.append(motion_loss(*scaled, weight, 5, frame_difference=difference, scales=energy))
    assert torch.allclose(found[0], found[1], rtol=1e-4)


def test_scales_give_each_channel_the_same_share_and_every_clip_the_same_say():
    found = np.array([[1.0, 3.0], [200.0, 200.0]])
    assert channel_scales(torch.from_numpy(found)) == (0.75, 1.25)
    found[1] *= 1000
    assert channel_scales(torch.from_numpy(found)) == (0.75, 1.25)
    # A channel that is never wrong is not blown up without bound.
    assert channel_scales(torch.tensor([[0.0, 4.0]])) == (0.001, 2.0)
    assert channel_scales(torch.tensor([[1.0, 2.0]])) == (0.6667, 1.333)


def test_measured_scales_even_out_the_channels_of_the_loss(wan):
    engine = make_engine(wan, latent_normalisation="channels")
    prepared = both_ways(engine, 0)
    found = engine.channel_errors(prepared, CAPTIONS[0])
    assert found.shape == (4,)
    scaled = engine.with_channel_scales(channel_scales(found[None]))
    assert scaled.recipe.channel_scales is not None and engine.recipe.channel_scales is None
    assert (found / torch.tensor(scaled.recipe.channel_scales)).numpy() == pytest.approx(found.mean().item(), rel=2e-3)
    # Their own mean is 1, so the loss of the clip that they were measured on stays.
    plain = make_engine(wan).losses([prepared], CAPTIONS[:1])
    assert scaled.losses([prepared], CAPTIONS[:1]).item() == pytest.approx(plain.item(), rel=2e-3)
    assert 0.1 < abs(vectors(scaled, [prepared])[0] @ vectors(make_engine(wan), [prepared])[0]) < 0.9999


@pytest.mark.parametrize("option", ["caption", "error", "noise"])
def test_channel_errors_are_those_of_the_loss(wan, option):
    engine = make_engine(wan, **{"timesteps": [751, 300], "noise_draws": 2, **OPTIONS[option]})
    loss = engine.losses([clip()], CAPTIONS[:1]).item()
    assert engine.channel_errors(clip(), CAPTIONS[0]).mean().item() / 5 == pytest.approx(loss, rel=1e-5)


# --- the gradient ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("family", ["wan", "cogvideox"])
def test_factorised_gradients_of_any_batch_are_the_exact_ones(request, family, option):
    """With every direction kept."""
    checkpoint = request.getfixturevalue(family)
    exact = make_engine(checkpoint, gradients="exact", **OPTIONS[option])
    clips = [both_ways(exact, seed) for seed in range(3)]
    expected = vectors(exact, clips)
    engine = make_engine(checkpoint, projection={"factors": WHOLE}, **OPTIONS[option])
    for batch in (1, 3):
        assert np.abs(vectors(engine, clips, batch) - expected).max() < 2e-6
    plain = vectors(make_engine(checkpoint, gradients="exact"), clips)
    assert (np.abs((plain * expected).sum(1)) < 0.9999).all()  # and each option changes them


def test_each_clip_meets_noise_of_its_own_and_another_at_every_pass(wan, monkeypatch):
    met: list[torch.Tensor] = []
    engine = make_engine(wan, noise="own", timesteps=[751, 300], noise_draws=2)
    add_noise = engine._model.add_noise
    monkeypatch.setattr(engine._model, "add_noise", lambda *values: met.append(values[1]) or add_noise(*values))
    engine.losses([clip(0), clip(1), clip(0)], CAPTIONS[:3])
    noise = torch.stack(met)  # [passes, clips, ...]
    assert noise.shape[:2] == (4, 3)
    assert torch.equal(noise[:, 0], noise[:, 2])  # the same frames, the same noise
    several = noise[:, :2].flatten(0, 1).flatten(1)
    assert np.abs(np.corrcoef(several.numpy()) - np.eye(8)).max() < 5 / several.shape[1] ** 0.5
    assert several.std().item() == pytest.approx(1, abs=0.05)


def test_own_noise_is_seeded_by_what_the_clip_shows_and_by_the_recipe(wan):
    engine, decode = make_engine(wan, noise="own"), reader(sliding([10, 12, 18, 30, 50]))
    first, second = (engine.prepare(Path(name), decode=decode) for name in ("a.mp4", "b.mp4"))
    assert len(first.noise_seed) == 4 and first.noise_seed == second.noise_seed != clip().noise_seed
    assert make_engine(wan).prepare(Path(), decode=decode).noise_seed == ()
    found, again = (engine.gradient(prepared, "a dot").vector for prepared in (first, second))
    assert np.array_equal(found, again)
    other = make_engine(wan, noise="own", noise_seed=1).gradient(first, "a dot").vector
    assert np.abs(found - other).max() > 0.01


def test_contrast_negates_when_a_clip_is_reversed_whichever_noise_it_meets(wan):
    pictures = sliding([10, 12, 18, 30, 50])
    for noise in ("shared", "own"):
        engine = make_engine(wan, contrast="time_reversed", noise=noise, timesteps=[751, 300])
        forward, backward = (
            engine.gradient(engine.prepare(Path(), decode=reader(shown)), "a").vector
            for shown in (pictures, pictures[::-1])
        )
        assert forward @ backward == pytest.approx(-1, abs=1e-4)


def test_without_a_caption_all_captions_are_one(wan):
    engine, plain = make_engine(wan, caption="none"), make_engine(wan)
    prepared = clip()
    untold = engine.gradient(prepared, "a ball falls").vector
    assert np.array_equal(untold, engine.gradient(prepared, "something else").vector)
    assert np.array_equal(untold, plain.gradient(prepared, "").vector)
    assert not np.allclose(untold, plain.gradient(prepared, "a ball falls").vector, atol=1e-4)


def test_contrast_is_the_difference_of_both_directions(wan):
    engine, plain = make_engine(wan, contrast="time_reversed"), make_engine(wan)
    prepared = both_ways(engine, 0)
    backwards = reversed_clip(prepared)
    forward, backward = (
        plain._gradients.sketch(1, [lambda one=one: plain.losses([one], CAPTIONS[:1])])[0]
        for one in (prepared, backwards)
    )
    difference = (forward - backward).numpy()
    (sketch,) = engine.sketch([prepared], CAPTIONS[:1])
    assert np.allclose(sketch.vector, difference / np.linalg.norm(difference), atol=1e-6)
    assert sketch.loss == pytest.approx(plain.losses([prepared], CAPTIONS[:1]).item(), rel=1e-6)
    expected = [plain.losses([one], CAPTIONS[:1]).item() for one in (prepared, backwards)]
    assert engine.losses([prepared], CAPTIONS[:1]).item() == pytest.approx(expected[0] - expected[1], abs=1e-6)


@pytest.mark.parametrize("gradients", ["factorised", "exact"])
def test_contrast_of_the_reversed_clip_is_exactly_the_negative(wan, gradients):
    engine = make_engine(wan, contrast="time_reversed", gradients=gradients)
    prepared = both_ways(engine, 0)
    there, back = (vectors(engine, [one])[0] for one in (prepared, reversed_clip(prepared)))
    assert np.array_equal(there, -back)


def reader(frames: np.ndarray):
    """Decodes no file: gives these frames, uint8 [F, H, W, 3]."""
    info = VideoInfo(128, 128, len(frames), 1.0, float(len(frames)), "raw", "raw", 0)

    def decode(path: Path, *, frames: int, height: int, width: int, fps: float | None) -> DecodedVideo:
        assert moving.shape[:3] == (frames, height, width)
        return DecodedVideo(moving, tuple(range(frames)), info)

    moving = frames
    return decode


def sliding(offsets: list[int]) -> np.ndarray:
    """A textured square before a textured wall, 128x128."""
    rng = np.random.default_rng(3)
    frames = np.stack([rng.integers(60, 90, (128, 128, 3), np.uint8)] * len(offsets))
    patch = rng.integers(150, 255, (40, 40, 3), np.uint8)
    for frame, offset in zip(frames, offsets, strict=True):
        frame[40:80, offset : offset + 40] = patch
    return frames


def test_reversing_a_clip_in_time_negates_its_contrast(wan):
    engine = make_engine(wan, contrast="time_reversed")
    frames = sliding([10, 12, 18, 30, 50])
    there, back = (engine.prepare(Path(), decode=reader(video)) for video in (frames, frames[::-1].copy()))
    assert torch.equal(there.weight, back.backward_weight) and torch.equal(there.backward_weight, back.weight)
    assert not torch.equal(there.weight, there.backward_weight)
    assert np.array_equal(vectors(engine, [there])[0], -vectors(engine, [back])[0])


@pytest.mark.parametrize("gradients", ["factorised", "exact"])
def test_a_clip_that_is_the_same_backwards_has_no_contrast_and_is_told_so(wan, gradients):
    engine = make_engine(wan, contrast="time_reversed", gradients=gradients, timesteps=[751, 300])
    palindrome = engine.prepare(Path(), decode=reader(sliding([10, 22, 34, 22, 10])))
    assert palindrome.motion.moves
    engine.batch = 1 if gradients == "exact" else 2
    other = both_ways(engine, 0)
    found = engine.sketch([palindrome, other], CAPTIONS[:2])
    assert isinstance(found[0], GradientError)
    assert "same played backwards has none" in str(found[0])
    assert isinstance(found[1], ClipSketch)


@settings(max_examples=25)
@given(st.floats(0, 2), st.integers(0, 99))
def test_contrast_is_zero_where_only_rounding_is_left(left: float, seed: int):
    assume(abs(left - 1) > 1e-9)  # there rounding decides
    forward, rest = torch.randn(2, 3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rest[0] *= left * 1e-3 * forward[0].norm() / rest[0].norm()
    found = contrast(forward, forward - rest)
    assert found[0].any() == (rest[0].norm() >= 1e-3 * torch.maximum(forward[0].norm(), (forward - rest)[0].norm()))
    assert torch.allclose(found[1:], rest[1:])
    assert torch.equal(contrast(forward, forward - rest), -contrast(forward - rest, forward))


def test_a_contrast_that_is_not_finite_is_said_to_be(wan):
    engine = make_engine(wan, contrast="time_reversed")
    broken = both_ways(engine, 0)
    broken = replace(broken, backward_weight=torch.full_like(broken.weight, float("nan")))
    (found,) = engine.sketch([broken], CAPTIONS[:1])
    assert isinstance(found, GradientError) and "not finite" in str(found)


def test_only_contrast_pays_for_a_second_direction(wan):
    assert make_engine(wan).prepare(Path(), decode=reader(sliding([10, 12, 18, 30, 50]))).backward_weight is None


# --- what is refused ------------------------------------------------------------------------------------------


def test_channels_without_scales_are_not_compared(wan):
    engine = make_engine(wan, latent_normalisation="channels")
    with pytest.raises(ModelError, match="scales of the latent channels are measured first"):
        engine.sketch([clip()], CAPTIONS[:1])


def test_scales_of_another_number_of_channels_are_refused(wan):
    with pytest.raises(ModelError, match=r"of 2 channels, and the latents have 4"):
        make_engine(wan, latent_normalisation="channels", channel_scales=[1.0, 1.0])


def test_frame_difference_of_a_single_latent_frame_is_refused(wan):
    with pytest.raises(ModelError, match="takes two latent frames or more"):
        make_engine(wan, error="frame_difference", frames=1)
