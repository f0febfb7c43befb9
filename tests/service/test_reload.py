"""New clips while the service runs: manifests are published under load, and no request fails."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import compact, open_index, publish_batch
from motiontrace.catalog.repositories import ClipRow, EntryRow
from tests.service.serving import serving

if TYPE_CHECKING:
    from motiontrace.catalog.vectors import VectorStore
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True
CALLERS, BATCHES, CLIPS = 4, 12, 5


def test_no_request_fails_while_new_manifests_are_published_and_the_new_clips_show_up(
    settings: ServiceSettings, corpus: Corpus
) -> None:
    database = Database.open(settings.url)
    index, store, _ = open_index(database, settings, "tiny", recipe=corpus.recipe, model=str(corpus.model))
    published = threading.Event()
    with serving(settings) as (_, url), store, ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(_call, url, published) for _ in range(CALLERS)]
        try:
            for batch in range(BATCHES):
                _publish(database, store, index, corpus, batch)
                if batch % 4 == 3:
                    compact(database, store, index)  # deletes the segments that are being searched
                time.sleep(0.05)
        finally:
            published.set()
        seen = [call.result() for call in calls]
        last = _ask(httpx.Client(base_url=url))
    database.close()
    for statuses, sizes in seen:
        assert statuses == {200, 201}
        assert sizes == sorted(sizes), "no answer is of an older version than the one before"
    assert len({size for _, sizes in seen for size in sizes}) > 3, "versions were searched while others came"
    assert last["ranked"] == 7 + BATCHES * CLIPS  # all but the clip itself
    assert {hit["id"] for hit in last["top"]} >= {f"new-{BATCHES - 1}-{number}" for number in range(CLIPS)}


def _call(url: str, published: threading.Event) -> tuple[set[int], list[int]]:
    """Ask and look until everything is published; the statuses, and how many clips each answer ranked."""
    statuses, sizes = set(), []
    with httpx.Client(base_url=url, timeout=30) as client:
        while not published.is_set():
            response = client.post("/v1/queries", json={"clip": "up-red", "k": 5})
            statuses.add(response.status_code)
            sizes.append(response.json()["ranked"])
            for path in ("/v1/indexes/tiny", "/v1/clips?index=tiny&limit=50"):
                statuses.add(client.get(path).status_code)
    return statuses, sizes


def _ask(client: httpx.Client) -> Any:
    with client:
        return client.post("/v1/queries", json={"clip": "up-red", "k": 100}).json()


def _publish(database: Database, store: VectorStore, index: Any, corpus: Corpus, batch: int) -> None:
    ids = [f"new-{batch}-{number}" for number in range(CLIPS)]
    drawn = np.random.default_rng(batch).standard_normal((CLIPS, corpus.recipe.dim))
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    publish_batch(
        database,
        store,
        index,
        [ClipRow(id=clip, path=str(corpus.video("up-red")), caption=clip) for clip in ids],
        [EntryRow(clip_id=clip, outcome="indexed", fingerprint="0" * 64) for clip in ids],
        dict(zip(ids, vectors, strict=True)),
    )
