"""Johnson-Lindenstrauss projections R^D -> R^dim, streamed parameter by parameter (METHOD, step 6).

The concatenated gradient never exists: :class:`Sketch` takes one parameter's gradient at a time and keeps only
the running sum. What is drawn for a parameter depends on the seed and the parameter's name alone, never on the
order of parameters, the device, the number format or the batch. Both kinds are linear and unbiased:
E<Px, Py> = <x, y>, with a variance of about (|x|^2 |y|^2 + <x, y>^2) / dim.

The random streams are numpy's Philox words and ``RandomState``, both frozen by numpy's compatibility policy, so that
an index made today can be queried in ten years.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from attribution.recipe import ProjectionSettings

_FASTFOOD_BLOCK = 1 << 16


class Projection(Protocol):
    """A seeded linear map from named gradients to R^dim."""

    dim: int

    def start(self, device: torch.device) -> torch.Tensor:
        """The state of an empty sketch: zeros, float32."""
        ...

    def add(self, state: torch.Tensor, name: str, gradient: torch.Tensor) -> None:
        """Adds the gradient of parameter ``name`` (any shape and floating dtype) to ``state``, on its device."""
        ...

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """The projection of everything added: [dim]."""
        ...


class Sketch:
    """The running projection of one gradient, parameter by parameter."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._states: dict[torch.device, torch.Tensor] = {}

    def add(self, name: str, gradient: torch.Tensor) -> None:
        """Adds the gradient of parameter ``name``; any shape, floating dtype and device."""
        if gradient.device not in self._states:
            self._states[gradient.device] = self._projection.start(gradient.device)
        self._projection.add(self._states[gradient.device], name, gradient.detach())

    def vector(self) -> torch.Tensor:
        """The projection of everything added so far: float64 [dim] on the CPU, not normalised."""
        total = torch.zeros(self._projection.dim, dtype=torch.float64)
        for state in self._states.values():
            total += self._projection.finish(state).double().cpu()
        return total


def make_projection(settings: ProjectionSettings) -> Projection:
    """The projection that the recipe names."""
    kinds: dict[str, type[CountSketch] | type[Fastfood]] = {"count_sketch": CountSketch, "fastfood": Fastfood}
    return kinds[settings.kind](settings.seed, settings.dim)


def _key(kind: str, seed: int, name: str) -> np.ndarray:
    """Four 32-bit words that seed everything drawn for one parameter."""
    return np.frombuffer(hashlib.sha256(f"{kind}:{seed}:{name}".encode()).digest()[:16], dtype="<u4")


class CountSketch:
    """One signed bucket an entry: P[b(i), i] = s(i).

    Entries are taken in blocks of ``dim``. Each has a sign of its own; the bucket is its place in the block, rotated
    by the block's own random shift. Entries of one block never collide and entries of two blocks collide with
    probability 1/dim, so the variance is that of independent buckets or less, and the map is one signed copy.
    Keeps one byte a parameter.
    """

    def __init__(self, seed: int, dim: int) -> None:
        self.dim = dim
        self._seed = seed
        self._drawn: dict[tuple[str, int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    def _draw(self, name: str, count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Signs int8 [blocks, dim] and shifts int64 [blocks] of one parameter."""
        found = self._drawn.get((name, count, device))
        if found is None:
            blocks = -(-count // self.dim)
            random = np.random.Philox(key=_key("count_sketch", self._seed, name).view("<u8"))
            shifts = random.random_raw(blocks) % np.uint64(self.dim)
            words = np.asarray(random.random_raw(-(-blocks * self.dim // 64)), dtype="<u8")
            bits = np.unpackbits(words.view(np.uint8), count=blocks * self.dim, bitorder="little")
            signs = torch.from_numpy(bits.view(np.int8)).mul_(2).sub_(1).view(blocks, self.dim)
            found = signs.to(device), torch.from_numpy(shifts.astype(np.int64)).to(device)
            self._drawn[name, count, device] = found
        return found

    def start(self, device: torch.device) -> torch.Tensor:
        """See :class:`Projection`: a row for every shift, so that blocks are rotated once, at the end."""
        return torch.zeros(self.dim, self.dim, device=device)

    def add(self, state: torch.Tensor, name: str, gradient: torch.Tensor) -> None:
        """See :class:`Projection`."""
        count = gradient.numel()
        signs, shifts = self._draw(name, count, gradient.device)
        flat = gradient.reshape(-1).float()
        if count < signs.numel():
            flat = torch.nn.functional.pad(flat, (0, signs.numel() - count))
        state.index_add_(0, shifts, flat.view(signs.shape) * signs)

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """See :class:`Projection`."""
        place = torch.arange(self.dim, device=state.device)
        return state.double().gather(1, (place[None, :] - place[:, None]) % self.dim).sum(0)


class Fastfood:
    """S H G Pi H B of Le, Sarlos and Smola (ICML 2013), the paper's projection, in blocks.

    A parameter is cut into blocks of at most 2^16 entries, padded to a power of two; each block has its own signs
    B, permutation Pi, Gaussians G and chi-distributed lengths S, and gives ``dim`` rows of a matrix that behaves as
    independent Gaussians; blocks add up. Keeps nine bytes a parameter.
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
            random = np.random.RandomState(np.random.MT19937(_key("fastfood", self._seed, name)))
            signs = random.randint(0, 2, (blocks, size)).astype(np.int8) * 2 - 1
            order = np.stack([random.permutation(size) for _ in range(blocks)])
            gaussians = random.standard_normal((blocks, size))
            lengths = np.sqrt(random.chisquare(size, (blocks, self.dim)))
            scales = lengths / (np.linalg.norm(gaussians, axis=1, keepdims=True) * np.sqrt(size * self.dim))
            found = (
                torch.from_numpy(signs).to(device),
                torch.from_numpy(order.astype(np.int32)).to(device),
                torch.from_numpy(gaussians.astype(np.float32)).to(device),
                torch.from_numpy(scales.astype(np.float32)).to(device),
            )
            self._drawn[name, count, device] = found
        return found

    def start(self, device: torch.device) -> torch.Tensor:
        """See :class:`Projection`."""
        return torch.zeros(self.dim, device=device)

    def add(self, state: torch.Tensor, name: str, gradient: torch.Tensor) -> None:
        """See :class:`Projection`."""
        signs, order, gaussians, scales = self._draw(name, gradient.numel(), gradient.device)
        flat = gradient.reshape(-1).float()
        blocks = torch.nn.functional.pad(flat, (0, signs.numel() - flat.numel())).view(signs.shape)
        mixed = hadamard(blocks * signs).gather(1, order.long())
        state += (hadamard(mixed * gaussians)[:, : self.dim] * scales).sum(0)

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """See :class:`Projection`."""
        return state


def _next_power(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def hadamard(x: torch.Tensor) -> torch.Tensor:
    """Walsh-Hadamard transform (Sylvester order, unnormalised) of the last axis, whose length is a power of two."""
    size = x.shape[-1]
    if size & (size - 1):
        raise ValueError(f"the last axis must be a power of two long, not {size}")
    stride = 1
    while stride < size:
        # Four butterflies at once, as a product with the 16 x 16 matrix: fewer passes over memory.
        radix = min(16, size // stride)
        matrix = torch.ones(1, 1, dtype=x.dtype, device=x.device)
        while matrix.shape[0] < radix:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        x = torch.einsum("ab,nbs->nas", matrix, x.reshape(-1, radix, stride)).reshape(x.shape)
        stride *= radix
    return x
