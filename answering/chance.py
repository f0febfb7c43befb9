"""Where chance lies among the scores of a query."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.attribution.chance import RATE, chance_of
from motiontrace.documents.chance import Chance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from motiontrace.catalog.vectors import Direction, Searcher


def told(products: NDArray[np.float32], direction: Direction, dim: int) -> Chance:
    """Where chance lies among the scores of all clips: float32 [N], their inner products with the direction."""
    found = chance_of(products - np.float32(direction.offset), dim)
    signs = {(True, False): "positive", (False, True): "negative"}
    sign = (
        signs.get((found.positive > 0, found.negative > 0)) if found.positive + found.negative == found.clips else None
    )
    fields = asdict(found)
    return Chance.model_validate(
        {name: fields[name] for name in fields.keys() & Chance.model_fields.keys()}
        | {"method": "shortest_half", "rate": RATE, "one_sign": sign}
    )


def kept(result: Mapping[str, Any] | None) -> Chance | None:
    """What was told when a query was answered; `result` as QueryRecord has it. None: nothing, as in older answers."""
    found = None if result is None else result.get("chance")
    return None if found is None else Chance.model_validate(found)


def found_anew(searcher: Searcher, direction: Direction, without: str | None) -> Chance | None:
    """Where chance lies among the scores of the index as it is now; a scan of all clips. None: nothing is ranked."""
    if direction.vector is None:
        return None
    return told(searcher.scores(direction.vector, without=without).values, direction, searcher.dim)
