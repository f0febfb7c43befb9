"""Where chance lies among a query's scores, and what all of them have in common."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from motiontrace.documents.base import Document
from motiontrace.preconditions import Precondition

CHANCE: JsonDict = {
    "method": "shortest_half",
    "rate": 0.025,
    "clips": 600,
    "centre": 0.0113,
    "spread": 0.0472,
    "low": -0.2590,
    "high": 0.2695,
    "teaches": 4,
    "fights": 2,
    "one_sign": None,
}


class Chance(Document):
    """Where chance lies among a query's scores: what clips that have nothing to do with its motion would score."""

    model_config = ConfigDict(json_schema_extra={"examples": [CHANCE]})

    method: Literal["shortest_half"] = Field(
        description="How it was found: the shortest stretch that holds half of all scores tells middle and spread."
    )
    rate: float = Field(
        description="Of queries that have nothing to do with the index, so many may have a clip below `low` by chance, "
        "and as many one above `high`: 0.025 is one in forty. Heavy tails and many copies can exceed it."
    )
    clips: int = Field(description="How many scores were looked at: all of the index, whatever the filter.")
    centre: float = Field(description="The middle of what unrelated clips score.")
    spread: float = Field(description="Standard deviation of the arctanh of what unrelated clips score.")
    low: float | None = Field(
        description="A clip fights the motion only below this, which is never above zero. Null: too few clips to tell."
    )
    high: float | None = Field(
        description="A clip stands out among those that teach only above this. Null: too few clips to tell."
    )
    teaches: int = Field(description="How many clips of the index score above `high`.")
    fights: int = Field(description="How many clips of the index score below `low`.")
    one_sign: Literal["positive", "negative"] | None = Field(
        description="The sign that all scores have; null where they have both."
    )


def remark(chance: Chance | None, precondition: Precondition) -> str | None:
    """What all scores have in common, where it keeps them from telling clips apart; the same for all faces.

    None: nothing, or the query is seen against what clips share already.
    """
    if chance is None or chance.one_sign is None or precondition != "none":
        return None
    side = "above" if chance.one_sign == "positive" else "below"
    return f"All {chance.clips:,} scores are {side} zero: clips of this index have much in common."
