"""The learned half of the projection: the directions in which the clips of an index differ.

docs/method.md#step-6-projection has the equations.

A random sketch keeps every inner product, with noise of 1 / sqrt(width). The sketch is wide, so that this noise is
small. Principal directions are then learned from a sample of the index's own clips. Along them, few numbers keep nearly
all that two clips have in common. The projection stays linear and the same for every clip and query. What a query has
outside the span of the clips has no inner product with them (the Nystrom method: Williams and Seeger, 2001; for
influence: Choe et al., 2024).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from motiontrace.attribution.errors import BasisError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MIN_BASIS_CLIPS = 64
"""Clips that a basis is learned from, at least: with fewer it ranks no better than a random projection."""
_KEPT_OUT = 10  # one clip in ten is held out, to measure what the basis keeps of clips that it was not learned from


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions of sketch space."""

    directions: NDArray[np.float32]
    """float32 [dim, width]; the last rows are zeros where it was learned from fewer clips than dim."""
    captured: float
    """Share of a sketch's squared length that lies within the basis, in [0, 1]: the mean over held-out clips."""
    clips: int
    """How many clips it was learned from."""

    @property
    def digest(self) -> str:
        """SHA-256 of the directions, 64 hexadecimal digits."""
        return hashlib.sha256(np.ascontiguousarray(self.directions, dtype="<f4").tobytes()).hexdigest()

    def save(self, folder: Path) -> None:
        """Writes `folder`/<digest>.safetensors, whole or not at all. An undamaged file is left as it is.

        Raises OSError where the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(BasisError):
            self.load(folder, self.digest)
            return
        about = {"captured": repr(self.captured), "clips": str(self.clips)}
        file = folder / f"{self.digest}.safetensors"
        draft = folder / f"{self.digest}.{secrets.token_hex(4)}.part"
        try:
            with draft.open("xb") as stream:
                stream.write(save({"directions": self.directions}, metadata=about))
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path, digest: str) -> Basis:
        """Inverse of `save`; raises BasisError, which names the file, where it is missing or damaged."""
        file = folder / f"{digest}.safetensors"
        hint = "Restore it from a backup of that folder, or index again under another name."
        try:
            with safe_open(file, "numpy") as stored:
                about = stored.metadata()
                basis = cls(stored.get_tensor("directions"), float(about["captured"]), int(about["clips"]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BasisError(f"the basis {file} of the index cannot be read: {error}. {hint}") from error
        if basis.digest != digest:
            raise BasisError(f"the basis {file} is damaged: its content has another SHA-256 than its name. {hint}")
        return basis


def learn_basis(sketches: NDArray[np.float32], dim: int) -> Basis:
    """The `dim` principal directions (not centred) of `sketches`, unit rows [N, width]; at most N of them.

    A basis holds nearly all of the clips that it was learned from, and about half of others. What only one clip has
    lies outside and has no part in any ranking. To measure that share, a first basis is learned without a tenth of the
    clips. The basis that is returned is learned from all.
    """
    trial = _principal_directions(np.delete(sketches, np.s_[::_KEPT_OUT], axis=0), dim)
    captured = np.square(sketches[::_KEPT_OUT] @ trial.T).sum(1).mean()
    return Basis(_principal_directions(sketches, dim), float(captured), len(sketches))


def _principal_directions(sketches: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """float32 [dim, width], rows of zeros where there are no more."""
    rows = np.asarray(sketches, dtype=np.float64)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = [i for i in reversed(range(len(values))) if values[i] > 1e-9 * values[-1]][:dim]
    directions = np.zeros((dim, rows.shape[1]), dtype=np.float32)
    directions[: len(kept)] = (vectors[:, kept] / np.sqrt(values[kept])).T @ rows
    return directions
