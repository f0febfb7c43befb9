"""The learned basis: what it keeps of inner products, and the file it lives in."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.basis import Basis, learn_basis
from motiontrace.attribution.engine import load_engine, plan_recipe
from motiontrace.attribution.errors import BasisError, RecipeMismatchError
from motiontrace.attribution.families import find_checkpoint
from tests.attribution.test_gradient import CAPTION, clip
from tests.checkpoints import tiny_wan


def sketches(clips: int, width: int = 256, rank: int = 8, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Unit rows that have some directions in common and a part of their own."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal((clips, rank)) @ np.random.default_rng(99).standard_normal((rank, width))
    rows = shared / np.sqrt(rank) + noise * random.standard_normal((clips, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(clips=st.integers(1, 40), dim=st.integers(1, 60), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_directions_are_orthonormal_and_empty_beyond_what_was_seen(clips: int, dim: int, seed: int):
    basis = learn_basis(sketches(clips, seed=seed), dim)
    rank = min(clips, dim)
    assert basis.directions.shape == (dim, 256)
    assert basis.directions.dtype == np.float32
    assert np.allclose(basis.directions @ basis.directions.T, np.diag([1.0] * rank + [0.0] * (dim - rank)), atol=1e-5)
    assert 0 <= basis.captured <= 1 + 1e-6
    assert basis.clips == clips


def test_inner_products_with_the_clips_it_was_learned_from_are_kept_for_any_query():
    rows, queries = sketches(30), sketches(10, seed=1)
    directions = learn_basis(rows, 40).directions
    assert np.allclose((queries @ directions.T) @ (rows @ directions.T).T, queries @ rows.T, atol=1e-5)


def test_unseen_clips_are_compared_more_faithfully_than_by_a_random_projection():
    rows, unseen = sketches(60), sketches(60, seed=1)
    directions = learn_basis(rows, 16).directions
    random = np.random.default_rng(3).standard_normal((16, 256)) / 4
    exact = unseen @ unseen.T
    upper = np.triu_indices(60, 1)
    learned, drawn = (
        np.abs((unseen @ matrix.T) @ (unseen @ matrix.T).T - exact)[upper].mean() for matrix in (directions, random)
    )
    assert learned < 0.25 * drawn


def test_captured_is_what_it_holds_of_clips_that_it_has_not_seen():
    basis = learn_basis(sketches(200), 16)
    unseen = np.square(sketches(200, seed=1) @ basis.directions.T).sum(1).mean()
    assert np.square(sketches(200) @ basis.directions.T).sum(1).mean() > unseen
    assert basis.captured == pytest.approx(unseen, abs=0.05)


def test_equal_clips_count_as_one_direction():
    rows = np.repeat(sketches(3), 4, axis=0)
    lengths = np.linalg.norm(learn_basis(rows, 8).directions, axis=1)
    assert np.allclose(lengths, [1] * 3 + [0] * 5, atol=1e-4)


def test_saved_basis_is_read_again_and_a_damaged_one_is_not(tmp_path):
    basis = learn_basis(sketches(20), 8)
    basis.save(tmp_path / "bases")
    basis.save(tmp_path / "bases")
    again = Basis.load(tmp_path / "bases", basis.digest)
    assert np.array_equal(again.directions, basis.directions)
    assert (again.captured, again.clips, again.digest) == (basis.captured, basis.clips, basis.digest)
    (file,) = (tmp_path / "bases").iterdir()
    with pytest.raises(BasisError, match=r"0000.*Restore it from a backup"):
        Basis.load(tmp_path / "bases", "0" * 64)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BasisError, match="is damaged"):
        Basis.load(tmp_path / "bases", basis.digest)
    file.write_bytes(content[:100])
    with pytest.raises(BasisError, match=r"safetensors.*cannot be read"):
        Basis.load(tmp_path / "bases", basis.digest)
    basis.save(tmp_path / "bases")
    assert Basis.load(tmp_path / "bases", basis.digest).captured == basis.captured
    assert [path.name for path in (tmp_path / "bases").iterdir()] == [file.name]


def test_saved_basis_may_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        learn_basis(sketches(4), 2).save(tmp_path)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o644


def test_engine_follows_the_basis_that_its_recipe_names(tmp_path):
    folder = str(tiny_wan(tmp_path))
    recipe = plan_recipe(find_checkpoint(folder), {"projection": {"width": 1024, "dim": 16}})
    plain = load_engine(folder, recipe, device="cpu")
    clips = [clip(seed) for seed in range(6)]
    found = plain.sketch(clips, [CAPTION] * 6)
    rows = np.stack([sketch.vector for sketch in found])
    basis = learn_basis(rows, 16)
    engine = plain.with_basis(basis)
    assert engine.recipe.projection.basis == basis.digest
    assert engine.recipe.digest != recipe.digest
    finished = [engine.finish(sketch) for sketch in found]
    vectors = np.stack([gradient.vector for gradient in finished])
    assert np.allclose(vectors @ vectors.T, rows @ rows.T, atol=1e-5)  # six clips span all that they have
    assert all(gradient.captured == pytest.approx(1, abs=1e-5) for gradient in finished)
    assert plain.finish(found[0]).captured is None
    with pytest.raises(RecipeMismatchError, match="names the basis None"):
        load_engine(folder, recipe, basis=basis, device="cpu")
    with pytest.raises(RecipeMismatchError, match="and None was given"):
        load_engine(folder, engine.recipe, device="cpu")
    short = learn_basis(rows, 8)
    with pytest.raises(RecipeMismatchError, match="it is 8x1024, not 16x1024"):
        load_engine(folder, recipe.with_basis(short.digest), basis=short, device="cpu")
    (tmp_path / "motiontrace.json").write_text(engine.recipe.model_dump_json())
    assert plan_recipe(find_checkpoint(folder), {}).projection.basis is None  # a checkpoint has no index's basis
