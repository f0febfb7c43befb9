"""An index of the corpus' clips whose ranking is known: what is pushed of it is the same on every machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import open_index, publish_batch
from motiontrace.catalog.records import EntryRecord
from motiontrace.catalog.repositories import ClipRow, EntryRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

NAME = "reviewed"
ROOMY = "among-others"
ASKED = "up-red"  # of which the ranking is, best first:
SCORES = {
    "up blue": 0.75, "right-red": 0.5, "right blue": 0.25, "left-red": -0.25, "left blue": -0.5, "down-red": -0.75,
    "down blue": -0.875,
}  # fmt: skip
# Scores of clips that have nothing to do with it.
UNRELATED = {f"unrelated {number:02}": (number - 20) / 512 for number in range(40)}
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


def index_reviewed(corpus: Corpus, settings: ServiceSettings, name: str = NAME, *, others: bool = False) -> None:
    """Adds the index; its best clip has a motion region, no other one has.

    With `others` it has unrelated clips, too, from which those of SCORES stand out.
    """
    database = Database.open(settings.url)
    index, store, _ = open_index(database, settings, name, recipe=corpus.recipe, model=str(corpus.model))
    scores = {ASKED: 1.0, **SCORES, **(UNRELATED if others else {})}
    vectors = {clip: vector_of(score) for clip, score in scores.items()}
    entries = [EntryRow(clip_id=clip, outcome="indexed", fingerprint="0" * 64) for clip in vectors]
    with store:
        publish_batch(database, store, index, unrelated_clips() if others else [], entries, vectors)
    with database.writing() as session:
        entry = session.get(EntryRecord, (index.id, "up blue"))
        assert entry is not None
        entry.motion_region = REGION
    database.close()


def unrelated_clips() -> list[ClipRow]:
    """Those of UNRELATED; they have no files."""
    return [ClipRow(id=clip, path=f"/nowhere/{clip}.mp4", caption=clip) for clip in UNRELATED]


def vector_of(score: float) -> NDArray[np.float32]:
    """Of unit length; its product with the first axis is exactly `score`, as half floats hold it."""
    vector = np.zeros(512, dtype=np.float32)
    vector[:2] = score, math.sqrt(1 - score * score)
    return vector
