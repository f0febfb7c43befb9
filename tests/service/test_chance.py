"""What is told of scores: in answers, pages and files, whatever the filter, and of answers from before it was told."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient

from motiontrace.attribution.chance import chance_of
from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import open_index, publish_batch
from motiontrace.catalog.records import QueryRecord
from motiontrace.catalog.repositories import EntryRow
from motiontrace.service.app import create_app
from tests.service.labeling.reviewed import ASKED, NAME, ROOMY, SCORES, UNRELATED, index_reviewed, unrelated_clips

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

ALIKE = "alike"  # an index in which all clips have much in common


@pytest.fixture
def client(settings: ServiceSettings, corpus: Corpus) -> Iterator[TestClient]:
    add_indexes(corpus, settings)
    with TestClient(create_app(settings, worker=False)) as client:
        yield client


def add_indexes(corpus: Corpus, settings: ServiceSettings) -> None:
    """Adds NAME, of few clips, ROOMY, in which some stand out on either side, and ALIKE."""
    index_reviewed(corpus, settings)
    index_reviewed(corpus, settings, ROOMY, others=True)
    database = Database.open(settings.url)
    index, store, _ = open_index(database, settings, ALIKE, recipe=corpus.recipe, model=str(corpus.model))
    rng = np.random.default_rng(0)
    vectors = {clip: _vector(rng) for clip in UNRELATED}
    entries = [EntryRow(clip_id=clip, outcome="indexed", fingerprint="0" * 64) for clip in vectors]
    with store:
        publish_batch(database, store, index, unrelated_clips(), entries, vectors)
    database.close()


def _vector(rng: np.random.Generator) -> np.ndarray:
    vector = np.append(rng.normal(0, 1 / math.sqrt(512), 511), 1.0)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def ask(client: TestClient, clip: str = ASKED, index: str = ROOMY, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/queries", json={"clip": clip, "index": index, "k": 8, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def stand_out(hits: list[dict[str, Any]]) -> dict[str, str | None]:
    return {hit["id"]: hit["stands_out"] for hit in hits}


def test_an_answer_tells_where_chance_lies_and_which_clips_stand_out(client: TestClient) -> None:
    found = ask(client)
    chance = found["chance"]
    truth = chance_of(np.array([*SCORES.values(), *UNRELATED.values()], np.float32), 512)
    assert (chance["clips"], chance["rate"], chance["one_sign"], found["hint"]) == (47, 0.025, None, None)
    assert (chance["low"], chance["high"]) == pytest.approx((truth.low, truth.high), abs=1e-5)
    assert (chance["teaches"], chance["fights"]) == (3, 4)
    told = stand_out(found["top"]) | stand_out(found["bottom"])
    assert {clip: told[clip] for clip in SCORES} == {
        clip: "teaches" if score > 0 else "fights" for clip, score in SCORES.items()
    }
    assert {told[clip] for clip in told.keys() - SCORES.keys()} == {None}


def test_pages_and_files_tell_the_same(client: TestClient) -> None:
    found = ask(client)
    path = f"/v1/queries/{found['id']}"
    page = client.get(f"{path}/clips?limit=100").json()
    assert page["chance"] == found["chance"]
    told = stand_out(page["clips"])
    assert {clip for clip, does in told.items() if does} == set(SCORES)
    lines = [json.loads(line) for line in client.get(f"{path}/export?format=jsonl").text.splitlines()]
    cells = list(csv.DictReader(io.StringIO(client.get(f"{path}/export?format=csv").content.decode("utf-8-sig"))))
    table = pyarrow.parquet.read_table(io.BytesIO(client.get(f"{path}/export?format=parquet").content)).to_pylist()
    assert stand_out(lines) == stand_out(table) == told
    assert stand_out(cells) == {clip: does or "" for clip, does in told.items()}
    for rows in (lines, table, cells):
        assert {float(row["chance_low"]) for row in rows} == {found["chance"]["low"]}
        assert {float(row["chance_high"]) for row in rows} == {found["chance"]["high"]}


def test_chance_is_the_indexs_whatever_the_filter(client: TestClient) -> None:
    whole, some = ask(client), ask(client, filter={"metadata": {"motion": ["down", "down blue"]}})
    assert some["ranked"] == 2
    assert some["chance"] == whole["chance"]
    assert set(stand_out(some["top"]).values()) == {"fights"}


def test_where_all_scores_are_positive_none_fights_and_centring_is_pointed_to(client: TestClient) -> None:
    asked = next(iter(UNRELATED))
    found = ask(client, asked, ALIKE)
    assert min(hit["score"] for hit in found["bottom"]) > 0.2
    assert (found["chance"]["one_sign"], found["chance"]["fights"]) == ("positive", 0)
    assert set(stand_out(found["bottom"]).values()) == {None}
    assert found["hint"].startswith("All 39 scores are above zero")
    assert 'precondition": "centre"' in found["hint"]
    centred = ask(client, asked, ALIKE, precondition="centre")
    assert (centred["chance"]["one_sign"], centred["hint"], centred["chance"]["fights"]) == (None, None, 0)


def test_few_clips_stand_out_in_nothing(client: TestClient) -> None:
    found = ask(client, index=NAME)
    assert (found["ranked"], found["chance"]["clips"]) == (7, 7)
    assert (found["chance"]["low"], found["chance"]["high"]) == (None, None)
    assert set(stand_out(found["top"] + found["bottom"]).values()) == {None}


def test_answers_from_before_chance_was_told_have_none_and_their_pages_find_it(
    client: TestClient, settings: ServiceSettings
) -> None:
    found = ask(client)
    database = Database.open(settings.url)
    with database.writing() as session:
        record = session.get(QueryRecord, found["id"])
        assert record is not None and record.result is not None
        old = {name: value for name, value in record.result.items() if name != "chance"}
        for end in ("top", "bottom"):
            old[end] = [{name: hit[name] for name in hit.keys() - {"stands_out"}} for hit in old[end]]
        record.result = old
    database.close()
    before = client.get(f"/v1/queries/{found['id']}").json()
    assert (before["chance"], before["hint"]) == (None, None)
    assert set(stand_out(before["top"]).values()) == {None}
    page = client.get(f"/v1/queries/{found['id']}/clips?limit=8").json()
    assert page["chance"] == found["chance"]
    assert stand_out(page["clips"]) == stand_out(found["top"])
