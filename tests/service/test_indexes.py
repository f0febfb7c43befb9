"""Indexes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.service.asking import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.service.conftest import Corpus

BOTH_DATABASES = True


def test_an_index_tells_its_model_recipe_and_counts(reader: TestClient, corpus: Corpus) -> None:
    index = reader.get("/v1/indexes/tiny").json()
    assert (index["name"], index["model"]) == ("tiny", str(corpus.model))
    assert index["clips"] == {"indexed": 8, "no_motion": 1, "failed": 1}
    assert index["recipe_digest"] == corpus.recipe.digest
    assert index["recipe"] == json.loads(corpus.recipe.to_json())
    listed = reader.get("/v1/indexes").json()["indexes"]
    assert listed == [{name: value for name, value in index.items() if name != "recipe"}]


def test_an_unknown_index_is_not_found(reader: TestClient) -> None:
    assert_problem(reader.get("/v1/indexes/none"), 404, "index_not_found")
