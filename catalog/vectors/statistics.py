"""What the clips of one version of an index have in common, and queries seen against it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.preconditioning import Preconditioner
from motiontrace.preconditions import DAMPING, Precondition

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from motiontrace.attribution.moments import Moments

_KEPT = 8  # preconditioners, 2 MB each for 512 numbers


@dataclass(frozen=True)
class Direction:
    """What clips are scored against: <g_n, vector> - offset.

    Attributes:
        vector: float32 [dim], unit length; None where nothing is left of the query to score by.
        offset: what the mean clip of the index scores where the query was centred, else 0.
        statistics: by which the query was preconditioned, as JSON has it: their `digest`, the index's
            `manifest_version` and its number of `vectors`; None where it is the query itself.
    """

    vector: NDArray[np.float32] | None
    offset: float = 0.0
    statistics: Mapping[str, Any] | None = None

    def score(self, product: float) -> float:
        """The score of a clip whose inner product with the vector is `product`.

        Without offset it is a cosine, but for half floats' rounding, which is taken off: -1 to 1. With one, -2 to 2.
        """
        return min(1.0, max(-1.0, product)) - self.offset


class Statistics:
    """The moments of one version of an index; safe to share between threads.

    Attributes:
        manifest_version: the version.
        count: how many vectors it has.
        digest: of the moments, hex; the same where an index holds the same vectors.
    """

    def __init__(self, moments: Moments, manifest_version: int) -> None:
        self.manifest_version = manifest_version
        self.count = moments.count
        self.digest = moments.digest
        self._moments = moments
        self._lock = threading.Lock()
        self._made: dict[tuple[Precondition, float], Preconditioner] = {}

    def precondition(self, query: NDArray[np.float32], kind: Precondition, damping: float = DAMPING) -> Direction:
        """Precondition a query, float32 [dim], unit length.

        The bits of the answer depend on the vectors of the index, the query and the settings alone. The first call of
        a damping takes a tenth of a second for 512 numbers, others a millisecond.

        Raises:
            ValueError: damping is out of range, see `motiontrace.attribution.preconditioning`.
        """
        vector, offset = self._preconditioner(kind, damping).apply(query)
        told = {"digest": self.digest, "manifest_version": self.manifest_version, "vectors": self.count}
        return Direction(vector if vector.any() else None, float(offset), told)

    def _preconditioner(self, kind: Precondition, damping: float) -> Preconditioner:
        key = kind, damping if kind == "whiten" else 0.0
        with self._lock:
            if key not in self._made:
                moments = self._moments
                made = Preconditioner.of(moments.mean, moments.second_moment, kind, damping)
                while len(self._made) >= _KEPT:
                    del self._made[next(iter(self._made))]  # the oldest
                self._made[key] = made
            return self._made[key]
