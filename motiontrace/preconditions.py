"""In which ways a query can be seen against what all clips of an index share, without the arithmetic.

`motiontrace/attribution/preconditioning.py` computes them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

DAMPING = 0.1  # of the mean eigenvalue, as usual for influence functions (arXiv 2308.03296)
MIN_DAMPING, MAX_DAMPING = 1e-3, 1e6  # with less, few clips are ranked by the rounding of half floats


def in_british(word: Any) -> Any:
    """The word as it is stored and shown: "centre" for "center", any other value as it is."""
    return "centre" if word == "center" else word


Precondition = Annotated[Literal["none", "centre", "whiten"], BeforeValidator(in_british)]
