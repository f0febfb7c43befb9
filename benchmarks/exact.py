"""Exact gradients of many clips, on disk, and what is computed from them without a sketch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from motiontrace.attribution.engine import MotionEngine
from motiontrace.attribution.projection import Sketch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.architectures import Architecture, Clip
    from motiontrace.attribution.projection import Projection

_COLUMNS = 1 << 18  # at once: 0.35 GB of 336 clips
_SIGN_ROWS = 1 << 13
_CLIPS = 32


class ExactGradients:
    """float32 [clips, parameters] in a file, clip by clip."""

    def __init__(self, architecture: Architecture, clips: Sequence[Clip], file: Path) -> None:
        """Differentiates each clip's motion loss by every parameter, and divides by the recipe's scales, if any."""
        model = architecture.load("float32", "cpu")
        recipe = architecture.recipe({"gradients": "exact"})
        engine = MotionEngine(model, recipe)
        model.denoiser.requires_grad_(True)
        self.parameters = dict(model.denoiser.named_parameters())
        self.sizes = [parameter.numel() for parameter in self.parameters.values()]
        scales = dict(zip(sorted(self.parameters), recipe.gradient_scales or [1.0] * len(self.sizes), strict=True))
        shape = len(clips), sum(self.sizes)
        rows = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        for row, clip in zip(rows, clips, strict=True):
            engine.losses([clip.prepared], [clip.caption]).sum().backward()
            start = 0
            for (name, parameter), size in zip(self.parameters.items(), self.sizes, strict=True):
                if parameter.grad is not None:  # the file is zero elsewhere
                    row[start : start + size] = parameter.grad.numpy().reshape(-1) / scales[name]
                parameter.grad = None
                start += size
        rows.flush()
        self._rows = torch.from_numpy(rows)

    def _columns(self) -> Iterator[torch.Tensor]:
        yield from (part.contiguous() for part in self._rows.split(_COLUMNS, 1))

    def cosines(self) -> NDArray[np.float64]:
        """[clips, clips]."""
        gram = torch.zeros(len(self._rows), len(self._rows), dtype=torch.float64)
        for part in self._columns():
            gram += part @ part.T
        lengths = gram.diagonal().sqrt()
        cosines: NDArray[np.float64] = (gram / lengths / lengths[:, None]).numpy()
        return cosines

    def projected(self, projection: Projection) -> NDArray[np.float64]:
        """float64 [clips, projection.dim], by the product's own sketch."""
        parts = []
        for rows in self._rows.split(_CLIPS):
            sketch = Sketch(projection, len(rows))
            for name, gradients in zip(self.parameters, rows.split(self.sizes, 1), strict=True):
                sketch.add(name, gradients)
            parts.append(sketch.vectors())
        return torch.cat(parts).numpy()

    def dense(self, dim: int, seed: int) -> NDArray[np.float64]:
        """float64 [clips, dim] by a whole matrix of random signs; its first numbers are such a projection too."""
        random = np.random.Philox(seed)
        total = torch.zeros(len(self._rows), dim, dtype=torch.float64)
        for part in self._columns():
            for piece in part.split(_SIGN_ROWS, 1):
                words = random.random_raw(-(-piece.shape[1] * dim // 64))
                bits = np.unpackbits(words.view(np.uint8), count=piece.shape[1] * dim)
                total += piece @ torch.from_numpy(bits).float().mul_(2).sub_(1).view(-1, dim)
        return total.numpy()
