"""The projections against matrices built the slow way, and against the statistics they promise."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard as dense_hadamard

from motiontrace.attribution import projection as module
from motiontrace.attribution.projection import CountSketch, Fastfood, Projection, Sketch, hadamard, make_projection
from motiontrace.attribution.recipe import ProjectionSettings

KINDS = [CountSketch, Fastfood]
CPU = torch.device("cpu")


def project(projection: Projection, **gradients: torch.Tensor) -> np.ndarray:
    """The projections [batch, dim] of a batch of gradients [batch, ...]."""
    sketch = Sketch(projection, len(next(iter(gradients.values()))))
    for name, gradient in gradients.items():
        sketch.add(name, gradient)
    return sketch.vectors().numpy()


def matrix_of(projection: Projection, count: int) -> np.ndarray:
    """The dense matrix [dim, count] of a projection: its answers to the unit vectors."""
    return project(projection, w=torch.eye(count)).T


@pytest.fixture
def short_tile(monkeypatch):
    """Tiles of 8 rows instead of thousands: pieces that a test can repeat, and terms of order 1 / rows that show."""
    monkeypatch.setattr(module, "_TILE", 1)
    monkeypatch.setattr(module, "_ROWS", 8)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_unbiased_with_the_promised_variance(kind):
    dim, count, seeds = 16, 150, 800
    rng = np.random.default_rng(0)
    x = rng.standard_normal(count)
    y = 0.5 * x + rng.standard_normal(count)
    both = torch.tensor(np.stack([x, y]), dtype=torch.float32)
    estimates = np.array([np.prod(project(kind(seed, dim), w=both), axis=0).sum() for seed in range(seeds)])
    exact = x @ y
    promised = ((x @ x) * (y @ y) + exact**2) / dim
    # Five standard errors: fails by chance once in 1.7 million seeds, and the seeds are fixed.
    assert abs(estimates.mean() - exact) < 5 * np.sqrt(promised / seeds)
    assert 0.5 * promised < estimates.var() < 1.25 * promised


def structured_pairs(places: int, dim: int, pieces: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Vectors of `pieces` tiles of `places` entries, of the kinds that a careless sketch would fold badly."""
    rng = np.random.default_rng(0)
    count = places * pieces
    piece, row = rng.standard_normal(places), rng.standard_normal(dim)
    columns = rng.standard_normal(count // dim)
    signs = np.repeat([1.0, -1.0] * pieces, places)[:count]
    noise, ones, far = rng.standard_normal(count), np.ones(count), np.zeros(count)
    far[::places], far[places // 2 :: places] = 1.0, 1.0
    repeated, rows = np.tile(piece, pieces), np.tile(row, count // dim)
    low_rank = (rng.standard_normal((count // dim, 2)) @ rng.standard_normal((2, dim))).ravel()
    return {
        "x = y": (noise, noise),
        "constant": (ones, ones),
        "period of dim": (rows, rows),
        "period of a tile": (repeated, repeated),
        "period of a tile, signs of y alternate": (repeated, repeated * signs),
        "outer product": (np.outer(columns, row).ravel(), np.outer(columns, row).ravel()),
        "rank two": (low_rank, low_rank),
        "one column": (np.tile(np.eye(dim)[3], count // dim), np.tile(np.eye(dim)[3], count // dim)),
        "sparse, half a tile apart": (far, far),
        "one piece": (np.where(np.arange(count) < places, noise, 0), np.where(np.arange(count) < places, noise, 0)),
        "orthogonal": (ones, np.resize([1.0, -1.0], count)),
    }


@pytest.mark.parametrize("parts", [1, 7], ids=["one parameter", "seven parameters"])
def test_count_sketch_keeps_its_promise_for_structured_vectors(short_tile, parts):
    dim, pieces, seeds = 16, 6, 2500
    pairs = structured_pairs(8 * dim, dim, pieces)
    vectors = torch.tensor(np.array(list(pairs.values())).reshape(2 * len(pairs), -1), dtype=torch.float32)
    parameters = {f"w{i}": part for i, part in enumerate(vectors.tensor_split(parts, dim=1))}
    sketches = np.array([project(CountSketch(seed, dim), **parameters) for seed in range(seeds)])
    estimates = (sketches[:, 0::2] * sketches[:, 1::2]).sum(axis=2)
    for (name, (x, y)), estimate in zip(pairs.items(), estimates.T, strict=True):
        ideal = ((x @ x) * (y @ y) + (x @ y) ** 2) / dim
        assert abs(estimate.mean() - x @ y) < 5 * np.sqrt(ideal / seeds), name
        # 1 + 1 / rows, and four standard errors of a variance: 4 sqrt(3 / 2500) with the kurtosis of 4 seen.
        assert estimate.var() < (1 + 1 / 8 + 0.14) * ideal, name


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**62), count=st.integers(1, 700), scale=st.floats(-3, 3))
def test_projection_is_linear(kind, seed, count, scale):
    rng = np.random.default_rng(count)
    x, y = torch.tensor(rng.standard_normal((2, 1, count)), dtype=torch.float32)
    sum_, first, second = project(kind(seed, 32), w=torch.cat([x + scale * y, x, y]))
    assert np.allclose(sum_, first + scale * second, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**62), count=st.integers(1, 150), dim=st.integers(1, 40))
def test_count_sketch_has_one_sign_an_entry(seed, count, dim):
    matrix = matrix_of(CountSketch(seed, dim), count)
    assert set(np.unique(matrix)) <= {-1.0, 0.0, 1.0}
    assert (np.abs(matrix).sum(axis=0) == 1).all()


@pytest.mark.parametrize(("dim", "count"), [(12, 96), (12, 97), (12, 95), (12, 500), (7, 333), (1, 20)])
def test_count_sketch_matches_its_definition_entry_by_entry(short_tile, dim, count):
    projection = CountSketch(5, dim)
    slow = np.zeros((dim, count))
    inner, outer, columns = (table.numpy() for table in projection._table(CPU))
    places = 8 * dim
    for piece, (shift, sign) in enumerate(projection._draw("w", -(-count // places))):
        for p in range(min(places, count - piece * places)):
            row, column = divmod((p + shift) % places, dim)
            bucket = columns[row].tolist().index(column)
            slow[bucket, piece * places + p] = sign * inner[p] * outer[row, column]
    assert np.array_equal(matrix_of(projection, count), slow)


@pytest.mark.parametrize("count", [1, 5, 64, 200, 400])
@pytest.mark.parametrize("at_once", [1, 3])
def test_fastfood_matches_the_product_of_its_five_matrices(monkeypatch, count, at_once):
    monkeypatch.setattr(module, "_FASTFOOD_BLOCK", 64)
    monkeypatch.setitem(module._BLOCKS_AT_ONCE, "cpu", at_once)
    dim = 24
    projection = Fastfood(3, dim)
    signs, order, gaussians, scales = (part.numpy() for part in projection._draw("w", count, CPU))
    size = signs.shape[1]
    H = dense_hadamard(size).astype(np.float64)
    slow = np.zeros((dim, len(signs) * size))
    for block in range(len(signs)):
        B, G = np.diag(signs[block].astype(float)), np.diag(gaussians[block])
        Pi = np.eye(size)[order[block]]
        S = np.diag(scales[block])
        slow[:, block * size : (block + 1) * size] = S @ (H @ G @ Pi @ H @ B)[:dim]
    assert np.allclose(matrix_of(projection, count), slow[:, :count], atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 8, 16, 32, 512, 2048])
def test_fast_hadamard_matches_the_matrix(size):
    x = torch.randn(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(hadamard(x), x @ torch.from_numpy(dense_hadamard(size).astype(np.float64)).T)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 5), counts=st.lists(st.integers(1, 300), min_size=1, max_size=4), dim=st.integers(1, 70))
def test_rows_of_a_batch_are_projected_as_if_alone(kind, batch, counts, dim):
    rng = np.random.default_rng(batch)
    gradients = {f"w{i}": torch.tensor(rng.standard_normal((batch, count))) for i, count in enumerate(counts)}
    together = project(kind(1, dim), **gradients)
    for i, row in enumerate(together):
        alone = project(kind(1, dim), **{name: gradient[i : i + 1] for name, gradient in gradients.items()})
        assert np.allclose(row, alone[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [65_535, 65_536, 65_537, 200_000])
def test_a_long_parameter_is_the_sum_of_its_pieces(kind, count):
    x = torch.randn(1, count, generator=torch.Generator().manual_seed(0))
    cuts = [piece.clone() for piece in (torch.zeros_like(x) for _ in range(4))]
    for i, cut in enumerate(cuts):
        cut[:, i::4] = x[:, i::4]
    projection = kind(0, 512)
    assert np.allclose(project(projection, w=x), sum(project(projection, w=cut) for cut in cuts), atol=2e-2)
    assert np.linalg.norm(project(projection, w=x)) == pytest.approx(float(x.norm()), rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_parameters_and_layout_do_not_matter(kind):
    parameters = {"a": torch.randn(2, 40, 30), "b": torch.randn(2, 77), "c": torch.randn(2, 1, 3, 5)}
    results = [project(kind(1, 64), **dict(order)) for order in itertools.permutations(parameters.items())]
    assert all(np.allclose(results[0], result, atol=1e-5) for result in results)
    a = parameters["a"]
    for layout in (a.transpose(1, 2).contiguous().transpose(1, 2), a[:, None].expand(2, 2, 40, 30)[:, 1]):
        assert np.array_equal(project(kind(1, 64), a=a), project(kind(1, 64), a=layout))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_gradient_of_another_format_is_projected_by_the_same_matrix(kind, dtype):
    x = torch.randn(2, 1000).to(dtype)
    assert np.array_equal(project(kind(0, 64), w=x), project(kind(0, 64), w=x.float()))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_parameter_name_change_the_matrix(kind):
    x = torch.randn(1, 1000)
    base = project(kind(0, 64), w=x)
    assert not np.allclose(base, project(kind(1, 64), w=x))
    assert not np.allclose(base, project(kind(0, 64), v=x))


@pytest.mark.parametrize("kind", KINDS)
def test_sketch_adds_up_what_it_is_given(kind):
    x, y = torch.randn(2, 3, 500)
    sketch = Sketch(kind(0, 32), 3)
    sketch.add("w", x)
    sketch.add("w", y)
    assert np.allclose(sketch.vectors().numpy(), project(kind(0, 32), w=x + y), atol=1e-4)
    assert sketch.vectors().dtype == torch.float64
    assert not Sketch(kind(0, 32), 3).vectors().any()


def test_gradients_of_another_number_of_samples_are_refused():
    sketch = Sketch(CountSketch(0, 32), 2)
    for gradients in (torch.zeros(4, 10), torch.zeros(1, 10), torch.tensor(0.0)):
        with pytest.raises(ValueError, match="w: gradients of 2 samples expected"):
            sketch.add("w", gradients)


def test_what_count_sketch_keeps_does_not_grow_with_the_parameters():
    projection = CountSketch(0, 512)
    project(projection, w=torch.zeros(1, 10 * 65_536 + 1), v=torch.zeros(1, 7))
    assert {key: len(drawn) for key, drawn in projection._drawn.items()} == {("w", 11): 11, ("v", 1): 1}
    assert sum(table.nbytes for table in projection._tables[CPU]) == 16 * 65_536


def test_fastfood_keeps_seven_bytes_a_parameter():
    projection = Fastfood(0, 512)
    project(projection, w=torch.zeros(1, 2 * 65_536))
    signs, order, gaussians, scales = projection._drawn["w", 2 * 65_536, CPU]
    assert signs.nbytes + order.nbytes + gaussians.nbytes == 7 * 2 * 65_536
    assert scales.shape == (2, 512)


def test_random_streams_are_frozen():
    """An index must be queried years later: these numbers may never change."""
    x = torch.arange(1.0, 11.0)[None]
    assert project(CountSketch(0, 4), w=x)[0].tolist() == FROZEN_COUNT_SKETCH
    assert np.allclose(project(Fastfood(0, 4), w=x)[0], FROZEN_FASTFOOD, atol=1e-5)
    long = (torch.arange(200_000) % 17 - 8.0)[None]
    assert project(CountSketch(7, 512), w=long)[0, :8].tolist() == FROZEN_LONG_COUNT_SKETCH
    assert np.allclose(project(Fastfood(7, 512), w=long)[0, :4], FROZEN_LONG_FASTFOOD, atol=1e-2)


def test_settings_choose_the_kind():
    assert isinstance(make_projection(ProjectionSettings(kind="fastfood", dim=64)), Fastfood)
    assert isinstance(make_projection(ProjectionSettings()), CountSketch)


FROZEN_COUNT_SKETCH = [4.0, -3.0, -14.0, 10.0]
FROZEN_FASTFOOD = [9.602398, -20.177319, -3.676532, 6.211442]
FROZEN_LONG_COUNT_SKETCH = [-10.0, -39.0, -81.0, -35.0, -75.0, 68.0, -28.0, -62.0]
FROZEN_LONG_FASTFOOD = [75.8543, -126.6547, -56.9454, -8.5379]
