"""Johnson-Lindenstrauss projections R^D -> R^dim, streamed parameter by parameter: docs/method.md#step-6-projection.

The concatenated gradient never exists: `Sketch` takes one parameter's gradients at a time, a row for every sample, and
keeps only the running sums. A parameter's random numbers depend on the seed and its name alone, never on the order of
parameters, the device, the number format or the batch. Both kinds are linear and unbiased: E<Px, Py> = <x, y>, with a
variance of about (|x|^2 |y|^2 + <x, y>^2) / dim.

The random streams are numpy's Philox words and `RandomState`, both frozen by numpy's compatibility policy, so that
an index made today can be queried in ten years.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motiontrace.attribution.recipe import ProjectionSettings

_TILE, _ROWS = 1 << 16, 16
_FASTFOOD_BLOCK = 1 << 16
_BLOCKS_AT_ONCE = {"cpu": 1}  # one block stays in the cache; an accelerator wants more work a call


class Projection(Protocol):
    """A seeded linear map from named gradients to R^dim, for a batch of samples at once."""

    dim: int

    def start(self, batch: int, device: torch.device) -> torch.Tensor:
        """The state of `batch` empty sketches: zeros, float32 [batch, ...]."""
        ...

    def add(self, state: torch.Tensor, name: str, gradients: torch.Tensor) -> None:
        """Adds the gradients [batch, ...] of parameter `name` to `state`, on its device.

        A row may have any shape, layout and floating dtype; its entries count in row-major order.
        """
        ...

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """The projections of everything added: [batch, dim]."""
        ...


class Sketch:
    """The running projections of `batch` gradients, parameter by parameter."""

    def __init__(self, projection: Projection, batch: int, scales: Mapping[str, float] | None = None) -> None:
        """`scales` > 0, one for each parameter, divide its gradients; None leaves all as they are."""
        self._projection = projection
        self._batch = batch
        self._scales = scales
        self._states: dict[torch.device, torch.Tensor] = {}

    def add(self, name: str, gradients: torch.Tensor) -> None:
        """Adds the gradients [batch, ...] of parameter `name`; any shape, floating dtype and device."""
        if gradients.shape[:1] != (self._batch,):
            raise ValueError(f"{name}: gradients of {self._batch} samples expected, not {list(gradients.shape)}")
        if gradients.device not in self._states:
            self._states[gradients.device] = self._projection.start(self._batch, gradients.device)
        gradients = gradients.detach()
        if self._scales is not None:
            gradients = gradients.float() / self._scales[name]
        self._projection.add(self._states[gradients.device], name, gradients)

    def vectors(self) -> torch.Tensor:
        """The projections of everything added so far: float64 [batch, dim] on the CPU, not normalised."""
        total = torch.zeros(self._batch, self._projection.dim, dtype=torch.float64)
        for state in self._states.values():
            total += self._projection.finish(state).double().cpu()
        return total


def make_projection(settings: ProjectionSettings) -> Projection:
    """The projection that the recipe names."""
    kinds: dict[str, type[CountSketch] | type[Fastfood]] = {"count_sketch": CountSketch, "fastfood": Fastfood}
    return kinds[settings.kind](settings.seed, settings.width)


def random_key(kind: str, seed: int, name: str) -> np.ndarray:
    """Four 32-bit words that seed all random numbers of one parameter."""
    return np.frombuffer(hashlib.sha256(f"{kind}:{seed}:{name}".encode()).digest()[:16], dtype="<u4")


class CountSketch:
    """One signed bucket for each entry, P[b(i), i] = s(i) (Charikar, Chen and Farach-Colton, 2002), in two foldings.

    **Scheme.** A tile has M = rows x dim places (2^16 for dim 512), and three fixed tables are drawn from the seed:
    signs T and V in {-1, 1}^M, and a rotation u[r] of each row. A parameter is cut into pieces of M entries. Piece g
    has a shift s and a sign c of its own, drawn from the parameter's name: its entry p goes with sign c T[p] to place
    q = p + s (mod M) of the tile. At the end place q, in row r and column j, goes with sign V[q] to bucket
    j + u[r] (mod dim). So one word is drawn for 2^16 parameters, T and the tile stay in the processor's cache, and
    adding a piece is one multiply-add that reads the gradient once.

    **Variance.** An entry meets itself with sign 1 and any other with a product of signs of mean 0: <Px, Py> is
    unbiased. First folding, z = Zx and w = Zy: places within a piece never meet; terms of two pairs of pieces are
    uncorrelated because of c, and terms within a pair because of T, except where they share both signs: at equal
    shifts (T drops out) and at shifts M / 2 apart (each product comes twice). Either has probability 1 / M, so
    Var<z, w> <= 4 (|x|^2 |y|^2 + <x, y>^2) / M for any x and y. Second folding: places within a row never meet, and
    places of two rows meet with probability 1 / dim and a sign of their own, so that given Z the variance is at most
    (|z|^2 |w|^2 + <z, w>^2) / dim. Together at most 1 + 4 / rows + 12 / M times the ideal
    (|x|^2 |y|^2 + <x, y>^2) / dim; the worst seen, one piece repeated, has 1 + 1 / rows. Each part is needed: without
    T a constant vector, without s a repeated piece has dim times that variance, without c equal pieces give a bias,
    and without V the excess is 2 / rows.
    """

    def __init__(self, seed: int, dim: int) -> None:
        self.dim = dim
        self._seed = seed
        self._rows = max(_ROWS, -(-_TILE // dim))
        self._places = self._rows * dim
        self._tables: dict[torch.device, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self._drawn: dict[tuple[str, int], list[tuple[int, float]]] = {}

    def _table(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Signs T [places] and V [rows, dim], float32, and the column [rows, dim], int64, that each bucket takes."""
        found = self._tables.get(device)
        if found is None:
            random = np.random.Philox(key=random_key("count_sketch tile", self._seed, "").view("<u8"))
            words = np.asarray(random.random_raw(-(-2 * self._places // 64)), dtype="<u8")
            bits = np.unpackbits(words.view(np.uint8), count=2 * self._places, bitorder="little")
            inner, outer = torch.from_numpy(bits).float().mul_(2).sub_(1).view(2, self._rows, self.dim)
            turns = torch.from_numpy((random.random_raw(self._rows) % np.uint64(self.dim)).astype(np.int64))
            columns = (torch.arange(self.dim) - turns[:, None]) % self.dim
            found = inner.reshape(-1).to(device), outer.to(device), columns.to(device)
            self._tables[device] = found
        return found

    def _draw(self, name: str, pieces: int) -> list[tuple[int, float]]:
        """Shift and sign of each piece of one parameter."""
        found = self._drawn.get((name, pieces))
        if found is None:
            random = np.random.Philox(key=random_key("count_sketch", self._seed, name).view("<u8"))
            words = random.random_raw(pieces)
            shifts = (words >> np.uint64(1)) % np.uint64(self._places)
            signs = 1.0 - 2.0 * (words & np.uint64(1))
            found = list(zip(shifts.tolist(), signs.tolist(), strict=True))
            self._drawn[name, pieces] = found
        return found

    def start(self, batch: int, device: torch.device) -> torch.Tensor:
        """See `Projection`: the tile twice, so that a shifted piece is one stretch of it."""
        return torch.zeros(batch, 2 * self._places, device=device)

    def add(self, state: torch.Tensor, name: str, gradients: torch.Tensor) -> None:
        """See `Projection`."""
        inner, _, _ = self._table(state.device)
        pieces = gradients.reshape(len(state), -1).split(self._places, dim=1)
        for piece, (shift, sign) in zip(pieces, self._draw(name, len(pieces)), strict=True):
            count = piece.shape[1]
            state.narrow(1, shift, count).addcmul_(piece.float(), inner.narrow(0, 0, count), value=sign)

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """See `Projection`."""
        _, outer, columns = self._table(state.device)
        tiles = ((halves[0] + halves[1]) * outer for halves in state.view(len(state), 2, self._rows, self.dim))
        return torch.stack([tile.gather(1, columns).sum(0, dtype=torch.float64) for tile in tiles])


class Fastfood:
    """S H G Pi H B of Le, Sarlos and Smola (ICML 2013), the paper's projection, in blocks.

    A parameter is cut into blocks of at most 2^16 entries, padded to a power of two; each block has its own signs
    B, permutation Pi, Gaussians G and chi-distributed lengths S, and gives `dim` rows of a matrix that behaves as
    independent Gaussians. Blocks add up. Of the outer transform only the first `dim` rows are needed: they are the
    short transform of the block, folded to that length. It keeps seven bytes for each entry of a parameter.
    """

    def __init__(self, seed: int, dim: int) -> None:
        self.dim = dim
        self._seed = seed
        self._drawn: dict[tuple[str, int, torch.device], tuple[torch.Tensor, ...]] = {}

    def _draw(self, name: str, count: int, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Signs, permutation and Gaussians [blocks, size] and row scales [blocks, dim] of one parameter."""
        found = self._drawn.get((name, count, device))
        if found is None:
            size = min(_next_power(count), _FASTFOOD_BLOCK)
            size = max(size, _next_power(self.dim))
            blocks = -(-count // size)
            random = np.random.RandomState(np.random.MT19937(random_key("fastfood", self._seed, name)))
            signs = random.randint(0, 2, (blocks, size)).astype(np.int8) * 2 - 1
            order = np.stack([random.permutation(size).astype(np.uint16) for _ in range(blocks)])
            gaussians = random.standard_normal((blocks, size))
            lengths = np.sqrt(random.chisquare(size, (blocks, self.dim)))
            scales = lengths / (np.linalg.norm(gaussians, axis=1, keepdims=True) * np.sqrt(size * self.dim))
            found = (
                torch.from_numpy(signs).to(device),
                torch.from_numpy(order).to(device),
                torch.from_numpy(gaussians.astype(np.float32)).to(device),
                torch.from_numpy(scales.astype(np.float32)).to(device),
            )
            self._drawn[name, count, device] = found
        return found

    def start(self, batch: int, device: torch.device) -> torch.Tensor:
        """See `Projection`."""
        return torch.zeros(batch, self.dim, device=device)

    def add(self, state: torch.Tensor, name: str, gradients: torch.Tensor) -> None:
        """See `Projection`."""
        flat = gradients.reshape(len(state), -1)
        signs, order, gaussians, scales = self._draw(name, flat.shape[1], state.device)
        blocks, size = signs.shape
        step, short = _BLOCKS_AT_ONCE.get(state.device.type, 64), _next_power(self.dim)
        for first in range(0, blocks, step):
            part = slice(first, first + step)
            piece = flat[:, first * size : (first + step) * size].float()
            padded = torch.nn.functional.pad(piece, (0, signs[part].numel() - piece.shape[1]))
            mixed = hadamard(padded.view(len(state), -1, size) * signs[part])
            mixed = mixed.gather(2, order[part].long().expand_as(mixed)) * gaussians[part]
            folded = mixed.view(len(state), -1, size // short, short).sum(2)
            state += (hadamard(folded)[..., : self.dim] * scales[part]).sum(1)

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """See `Projection`."""
        return state


def _next_power(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


@lru_cache
def _sylvester(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The Hadamard matrix [size, size] of Sylvester's order."""
    matrix = torch.ones(1, 1, dtype=dtype, device=device)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def hadamard(x: torch.Tensor) -> torch.Tensor:
    """Walsh-Hadamard transform (Sylvester order, unnormalised) of the last axis, whose length is a power of two."""
    size = x.shape[-1]
    if size & (size - 1):
        raise ValueError(f"the last axis must be a power of two long, not {size}")
    stride = 1
    while stride < size:
        # Four butterflies at once, as a product with the 16 x 16 matrix: fewer passes over memory.
        radix = min(16, size // stride)
        matrix = _sylvester(radix, x.dtype, x.device)
        parts = x.reshape(-1, radix, stride)
        x = (parts.squeeze(2) @ matrix if stride == 1 else matrix @ parts).view(x.shape)
        stride *= radix
    return x
