"""Gradients evened out by the sizes that their tensors' usually have, as an optimizer does it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.gradient import gradient_scales, unit
from motiontrace.attribution.objective import Clips
from motiontrace.attribution.projection import Sketch, make_projection
from tests.attribution.test_gradient import clip
from tests.attribution.test_objective import CAPTIONS, WHOLE, make_engine, vectors

TENSORS = {"gradient_normalisation": "tensors"}


def prepared(engine, seed):
    return clip(seed, engine.recipe.frames, grid=engine._latent_shape[1:])


@settings(max_examples=50)
@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=9), st.floats(1e-3, 1e3))
def test_scales_are_the_fourth_roots_of_second_moments_but_for_a_common_factor(sizes: list[float], gain: float) -> None:
    squares = torch.tensor([sizes], dtype=torch.float64).pow(0.4)  # apart by less than what is left alone
    scales = gradient_scales(squares)
    assert math.prod(scales) == pytest.approx(1, rel=0.01)
    assert np.ptp(np.log(scales) - squares[0].log().numpy() / 4) < 2e-3
    assert gradient_scales(squares * gain) == pytest.approx(scales, rel=2e-3)


def test_scales_are_of_the_mean_over_samples_and_a_silent_tensor_is_not_blown_up() -> None:
    assert gradient_scales(torch.tensor([[1.0, 16.0], [1.0, 16.0]])) == (0.7071, 1.414)
    assert gradient_scales(torch.tensor([[2.0, 0.0], [0.0, 32.0]])) == (0.7071, 1.414)
    for others in ([1.0, 1.0], [1.0], [0.0, 0.0, 1.0]):  # also where most are silent
        silent = gradient_scales(torch.tensor([[0.0, *others]]))
        assert silent[-1] / silent[0] == pytest.approx(1000**0.5, rel=1e-3)


@pytest.mark.parametrize("family", ["wan", "cogvideox"])
def test_squares_are_those_of_single_passes_whichever_way_gradients_are_taken(request, family):
    checkpoint = request.getfixturevalue(family)
    recipe = {"timesteps": [751, 300], "noise": "own", **TENSORS}
    exact = make_engine(checkpoint, gradients="exact", **recipe)
    one = prepared(exact, 0)
    parameters = dict(sorted(exact._model.denoiser.named_parameters()))
    expected = np.zeros(len(parameters))
    for term in exact._objective.terms(Clips([one.frames], [one.weight], CAPTIONS[:1], [one.noise_seed])):
        for parameter in parameters.values():
            parameter.requires_grad_(True).grad = None
        (2 * term().sum()).backward()  # a term is divided by the number of passes
        expected += [0.0 if p.grad is None else p.grad.double().square().mean().item() / 2 for p in parameters.values()]
    whole = make_engine(checkpoint, projection={"factors": WHOLE}, **recipe)
    for engine in (exact, whole):
        assert engine.gradient_squares(one, CAPTIONS[0]).numpy() == pytest.approx(expected, rel=1e-3, abs=1e-16)
    # By projected factors they are right in the mean.
    sketched = make_engine(checkpoint, **recipe).gradient_squares(one, CAPTIONS[0]).numpy()
    assert sketched.sum() == pytest.approx(expected.sum(), rel=0.2)


@pytest.mark.parametrize("family", ["wan", "cogvideox"])
def test_the_gradient_of_every_tensor_is_divided_by_its_scale(request, family):
    checkpoint = request.getfixturevalue(family)
    exact = make_engine(checkpoint, gradients="exact", **TENSORS)
    clips = [prepared(exact, seed) for seed in range(3)]
    squares = torch.stack([exact.gradient_squares(one, CAPTIONS[0]) for one in clips])
    scaled = exact.with_gradient_scales(gradient_scales(squares))
    parameters = dict(exact._model.denoiser.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True).grad = None
    scaled.losses(clips[:1], CAPTIONS[:1]).sum().backward()
    sketch = Sketch(make_projection(scaled.recipe.projection), 1)
    for name, scale in zip(sorted(parameters), scaled.recipe.gradient_scales, strict=True):
        if (gradient := parameters[name].grad) is not None:
            sketch.add(name, gradient[None] / scale)
    found = vectors(scaled, clips)
    assert np.abs(unit(sketch.vectors()[0]) - found[0]).max() < 2e-6
    whole = make_engine(checkpoint, projection={"factors": WHOLE}, **TENSORS)
    whole = whole.with_gradient_scales(scaled.recipe.gradient_scales)
    for batch in (1, 3):
        assert np.abs(vectors(whole, clips, batch) - found).max() < 2e-6
    assert abs(vectors(make_engine(checkpoint, gradients="exact"), clips[:1])[0] @ found[0]) < 0.999


def test_engines_under_several_scales_share_a_model_and_do_not_mix(wan):
    plain = make_engine(wan, **TENSORS)
    count = len(list(plain._model.denoiser.parameters()))
    one, other = (plain.with_gradient_scales(tuple(range(first, first + count))) for first in (1, 50))
    assert one._model is other._model is plain._model
    first = vectors(one, [clip()])
    assert np.abs(vectors(other, [clip()]) - first).max() > 1e-3
    assert np.array_equal(vectors(one, [clip()]), first)


def test_gradients_without_scales_are_not_compared(wan):
    with pytest.raises(ModelError, match="scales of the gradients are measured first"):
        make_engine(wan, **TENSORS).sketch([clip()], CAPTIONS[:1])


def test_scales_of_another_number_of_parameters_are_refused(wan):
    with pytest.raises(ModelError, match=r"gradient_scales of 2 parameters, and \d+ of the denoiser's"):
        make_engine(wan, **TENSORS, gradient_scales=[1.0, 1.0])
