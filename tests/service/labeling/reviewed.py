"""An index of the corpus' clips whose ranking is known: what is pushed of it is the same on every machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from catalog.database import Database
from catalog.publishing import open_index, publish_batch
from catalog.records import EntryRecord
from catalog.repositories import EntryRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.settings import ServiceSettings
    from tests.service.conftest import Corpus

NAME = "reviewed"
ASKED = "up-red"  # of which the ranking is, best first:
SCORES = {
    "up blue": 0.75, "right-red": 0.5, "right blue": 0.25, "left-red": -0.25, "left blue": -0.5, "down-red": -0.75,
    "down blue": -0.875,
}  # fmt: skip
REGION: dict[str, Any] = {
    "ranges": [{"start": 0.25, "end": 0.5}],
    "boxes": [
        {
            "keyframes": [
                {"time": 0.25, "x": 0.25, "y": 0.25, "width": 0.25, "height": 0.25, "visible": True},
                {"time": 0.5, "x": 0.5, "y": 0.25, "width": 0.25, "height": 0.25, "visible": False},
            ]
        }
    ],
}


def index_reviewed(corpus: Corpus, settings: ServiceSettings) -> None:
    """Adds the index; its best clip has a motion region, no other one has."""
    database = Database.open(settings.url)
    index, store, _ = open_index(database, settings, NAME, recipe=corpus.recipe, model=str(corpus.model))
    vectors = {clip: _vector(score) for clip, score in {ASKED: 1.0, **SCORES}.items()}
    entries = [EntryRow(clip_id=clip, outcome="indexed", fingerprint="0" * 64) for clip in vectors]
    with store:
        publish_batch(database, store, index, [], entries, vectors)
    with database.writing() as session:
        entry = session.get(EntryRecord, (index.id, "up blue"))
        assert entry is not None
        entry.motion_region = REGION
    database.close()


def _vector(score: float) -> NDArray[np.float32]:
    """Of unit length; its product with the first axis is exactly `score`, as half floats hold it."""
    vector = np.zeros(512, dtype=np.float32)
    vector[:2] = score, math.sqrt(1 - score * score)
    return vector
