"""The learned half of the projection: the directions in which the clips of an index differ.

docs/method.md#step-6-projection has the equations.

A random sketch keeps every inner product, each with a noise of 1 / sqrt(width). Of a sketch wide enough for that noise
to be small, the principal directions of a sample of the index's own clips keep nearly all that two clips have in
common, in as few numbers as are stored. The projection stays linear and the same for every clip and query: what a query
has outside the span of the clips it is compared with has no inner product with them (the Nystrom method: Williams and
Seeger, 2001; for influence: Choe et al., 2024).
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
"""With fewer clips a basis ranks no better than a random projection."""
_KEPT_OUT = 10  # one clip in so many


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions of sketch space."""

    directions: NDArray[np.float32]
    """float32 [dim, width]; rows of zeros where it was learned from fewer clips than dim."""
    captured: float
    """Share of the squared length of a sketch that lies within it, in [0, 1]: the mean over clips it has not seen."""
    clips: int
    """How many clips it was learned from."""

    @property
    def digest(self) -> str:
        """SHA-256 of the directions, 64 hexadecimal digits."""
        return hashlib.sha256(np.ascontiguousarray(self.directions, dtype="<f4").tobytes()).hexdigest()

    def save(self, folder: Path) -> None:
        """Writes `folder`/<digest>.safetensors, whole or not at all; nothing happens where it is there undamaged.

        Raises OSError where the disk takes no more.
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
    """The `dim` principal directions (not centred) of `sketches`, unit rows [N, width]; fewer if N has fewer.

    Of its own clips a basis holds nearly all, of others about half: what is a single clip's own lies outside, and has
    no part in any ranking. To tell how much that is, a tenth of the clips is kept out before all are learned from.
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
