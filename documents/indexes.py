"""The documents of /v1/indexes."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from motiontrace.documents.base import Document

INDEX: JsonDict = {
    "name": "demo",
    "model": "/models/wan2.1-t2v-1.3b",
    "recipe_digest": "3f1c9a0e6f9d5b1c7a28e4d09b6f3a75c1d2e8f40716253a4b5c6d7e8f901234",
    "clips": {"indexed": 600, "no_motion": 12, "failed": 1},
    "created_at": "2026-03-01T11:00:00Z",
    "updated_at": "2026-03-01T11:20:00Z",
}


class ClipCounts(Document):
    """How many clips of an index ended how."""

    indexed: int = Field(description="Ranked in queries.")
    no_motion: int = Field(description="Nothing moves in them: kept, never ranked.")
    failed: int = Field(description="Could not be decoded or computed.")


class IndexSummary(Document):
    """An index: one model's gradients of one corpus, computed by one recipe."""

    model_config = ConfigDict(json_schema_extra={"examples": [INDEX]})

    name: str
    model: str = Field(description="Where the model was loaded from: a directory or a hub id.")
    recipe_digest: str = Field(description="Digest of the recipe, hex. Gradients compare only within one recipe.")
    clips: ClipCounts
    created_at: datetime
    updated_at: datetime


class Index(IndexSummary):
    """An index with its recipe."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**INDEX, "recipe": {"family": "wan", "dim": 512, "frames": 81}}]}
    )

    recipe: dict[str, Any] = Field(description="Everything that makes two gradients comparable.")


class IndexList(Document):
    """All indexes, by name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"indexes": [INDEX]}]})

    indexes: list[IndexSummary]
