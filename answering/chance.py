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


def chance_among(products: NDArray[np.float32], direction: Direction, dim: int) -> Chance:
    """Where chance lies among the scores of all clips.

    Args:
        products: float32 [N], the inner products of the clips' gradients with the direction.
        direction: what the query is scored along; its offset is taken off each product.
        dim: of the gradients.
    """
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


def kept_chance(result: Mapping[str, Any] | None) -> Chance | None:
    """What the answer of a query holds; `result` is as in QueryRecord. None: nothing, as in older answers."""
    found = None if result is None else result.get("chance")
    return None if found is None else Chance.model_validate(found)


def chance_now(searcher: Searcher, direction: Direction, without: str | None) -> Chance | None:
    """Where chance lies among the scores of the index as it is now; None: nothing is ranked.

    It scans all clips but `without`, the clip that was asked about.
    """
    if direction.vector is None:
        return None
    return chance_among(searcher.scores(direction.vector, without=without).values, direction, searcher.dim)
