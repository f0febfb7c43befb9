"""Stored selections and the gradients that they were made by, on both databases."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.records import SelectionRecord, now
from motiontrace.catalog.repositories import (
    ClipRepository,
    ClipRow,
    EntryRepository,
    EntryRow,
    IndexRepository,
    LabelRepository,
    SelectionRepository,
    VideoGradient,
    VideoGradientRepository,
)
from motiontrace.catalog.repositories.queries import unpack_gradient

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord

QUERIES: list[dict[str, Any]] = [{"video": "/ä.mp4", "prompt": "a 'ball'"}, {"query": "f" * 32}]


@pytest.fixture
def index(database: Database) -> IndexRecord:
    with database.writing() as session:
        return IndexRepository(session).create("demo", recipe="{}", recipe_digest="d" * 64, model="/m")


def store(database: Database, index: IndexRecord, **fields: Any) -> SelectionRecord:
    values: dict[str, Any] = {
        "selection_id": uuid.uuid4().hex,
        "name": None,
        "manifest_version": 3,
        "settings": {"budget": "10%"},
        "queries": QUERIES,
        "gradients": np.arange(8, dtype=np.float32).reshape(2, 4),
        "counts": {"chosen": 5},
        "chosen_sha256": "c" * 64,
        "created_at": now(),
    }
    with database.writing() as session:
        return SelectionRepository(session).create(index, **{**values, **fields})


def find(database: Database, wanted: str) -> SelectionRecord | None:
    with database.reading() as session:
        return SelectionRepository(session).find(wanted)


def test_a_selection_is_found_by_id_and_name_with_all_that_repeats_it(database: Database, index: IndexRecord) -> None:
    stored = store(database, index, name="falling balls")
    for wanted in (stored.id, "falling balls"):
        found = find(database, wanted)
        assert found is not None
        assert (found.index_id, found.index_name, found.recipe_digest) == (index.id, "demo", "d" * 64)
        assert (found.manifest_version, found.settings, found.queries) == (3, {"budget": "10%"}, QUERIES)
        assert unpack_gradient(found.gradients).tolist() == list(range(8))
    assert find(database, "falling") is None


def test_an_id_wins_over_a_name_that_looks_like_it(database: Database, index: IndexRecord) -> None:
    first = store(database, index)
    store(database, index, name=first.id)
    found = find(database, first.id)
    assert found is not None
    assert found.id == first.id


def test_a_name_is_given_once_and_many_selections_have_none(database: Database, index: IndexRecord) -> None:
    store(database, index, name="a")
    with pytest.raises(CatalogError, match="named 'a' is there already"):
        store(database, index, name="a")
    ids = {store(database, index).id for _ in range(2)}
    with database.reading() as session:
        assert {each.id for each in SelectionRepository(session).latest()} >= ids


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 201])
def test_a_name_that_nobody_could_type_is_refused(database: Database, index: IndexRecord, name: str) -> None:
    with pytest.raises(CatalogError, match="cannot be a selection's"):
        store(database, index, name=name)


def test_the_newest_are_listed_first(database: Database, index: IndexRecord) -> None:
    moment = now()
    ids = [store(database, index, created_at=moment - timedelta(hours=hours)).id for hours in (2, 0, 1)]
    with database.reading() as session:
        listed = SelectionRepository(session).latest(2)
    assert [each.id for each in listed] == [ids[1], ids[2]]


def test_a_selection_outlives_its_index(database: Database, index: IndexRecord) -> None:
    stored = store(database, index)
    with database.writing() as session:
        IndexRepository(session).delete("demo")
    found = find(database, stored.id)
    assert found is not None
    assert (found.index_id, found.index_name) == (None, "demo")


def test_what_happened_to_an_index_since_is_told_clip_by_clip(database: Database, index: IndexRecord) -> None:
    def publish(*ids: str) -> None:
        with database.writing() as session:
            ClipRepository(session).upsert(ClipRow(id=each, path=f"/{each}", caption="x") for each in ids)
            rows = [EntryRow(clip_id=each, outcome="no_motion", fingerprint="f") for each in ids]
            EntryRepository(session).publish(index.id, rows, segment=None)

    publish(*"abcdefgh")
    with database.writing() as session:
        LabelRepository(session).put("a", verdict=None, decision="drop", tool="api")
        confirmed = LabelRepository(session).put("b", verdict=None, decision="drop", tool="api")
        ClipRepository(session).upsert([ClipRow(id="of no index", path="/o", caption="x")])
        LabelRepository(session).put("of no index", verdict=None, decision="drop", tool="api")
    time.sleep(0.002)
    moment = now()
    with database.reading() as session:
        before = SelectionRepository(session).changes(index.id, moment)
    assert [change.count for change in (before.computed, before.labelled, before.described)] == [0, 0, 0]
    publish("h", "new")
    with database.writing() as session:
        labels = LabelRepository(session)
        assert labels.put("b", verdict=None, decision="drop", tool="api").id == confirmed.id
        for each in "cdefg":
            labels.put(each, verdict=None, decision="keep", tool="api")
        elsewhere = ClipRow(id="a", path="/elsewhere", caption="x")
        ClipRepository(session).refresh([replace(elsewhere, id="b"), elsewhere])  # of whichever index, and so not b
        EntryRepository(session).refresh(index.id, [elsewhere, ClipRow(id="c", path="/c", caption="x", modified_ns=5)])
    with database.reading() as session:
        after = SelectionRepository(session).changes(index.id, moment)
    assert (after.computed.count, after.computed.examples) == (2, ["h", "new"])
    assert (after.labelled.count, after.labelled.examples) == (6, ["b", "c", "d", "e", "f"])
    assert (after.described.count, after.described.examples) == (3, ["a", "h", "new"])


def test_a_videos_gradient_is_kept_by_recipe_video_and_prompt(database: Database) -> None:
    gradient = np.array([0.6, 0.8], np.float32)
    with database.writing() as session:
        kept = VideoGradientRepository(session, "d" * 64)
        kept.put("a" * 64, "a ball", VideoGradient(gradient, 2.5))
        kept.put("b" * 64, "a ball", VideoGradient(None, 0.1))
        kept.put("b" * 64, "a ball", VideoGradient(None, 0.125))
    with database.reading() as session:
        kept = VideoGradientRepository(session, "d" * 64)
        found, still = kept.get("a" * 64, "a ball"), kept.get("b" * 64, "a ball")
        assert found is not None
        assert found.gradient is not None
        assert (found.gradient.tolist(), found.motion_peak) == (gradient.tolist(), 2.5)
        assert still == VideoGradient(None, 0.125)
        assert kept.get("a" * 64, "a Ball") is None
        assert VideoGradientRepository(session, "e" * 64).get("a" * 64, "a ball") is None
