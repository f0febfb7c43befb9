"""Choosing clips by fifty queries from up to a million: CPU seconds of each; one thread, SQLite.

The vectors are those of benchmarks.search. Every clip has a scene, one of twenty, which a floor is of, and one
of a hundred is labelled.

A million clips take 4 GB of the temporary directory while it runs: TMPDIR=/var/tmp python -m benchmarks.selection
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import torch
from sqlalchemy import insert

from benchmarks.report import report
from benchmarks.search import QUERIES, RECIPE, unit_vectors, write_store
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.records import ClipRecord, EntryRecord, LabelRecord, now
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import Direction, Searcher
from motiontrace.curation.selection.outcome import choose_from
from motiontrace.curation.selection.queries import Voter
from motiontrace.curation.selection.run import make_selection
from motiontrace.curation.selection.settings import SelectionSettings
from motiontrace.curation.selection.tally import tally

if TYPE_CHECKING:
    from motiontrace.catalog.records import IndexRecord

faiss: Any = _faiss  # its type stubs do not know this call

SIZES = (100_000, 1_000_000)
SCENES, LABELLED = 20, 100  # of that many clips one is labelled
SELECTIONS = {
    "a tenth": SelectionSettings(budget="10%"),
    "a tenth, by votes": SelectionSettings(budget="10%", choose_by="votes"),
    "a tenth, of each scene at least 4 %": SelectionSettings(budget="10%", at_least=["scene=4%"]),
    "all but the worst tenth": SelectionSettings(drop_worst="10%"),
}


def main() -> None:
    """All sizes, or those given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="clips")
    sizes = parser.parse_args().sizes
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    report(
        "selection",
        f"Choosing clips by {QUERIES} queries, one thread",
        [row for size in sizes for row in measured(size)],
    )


def measured(size: int) -> list[dict[str, Any]]:
    """The rows of an index of so many clips."""
    with tempfile.TemporaryDirectory(prefix="motiontrace-selection-") as directory:
        places = CatalogSettings(home=Path(directory))
        upgrade(places.url)
        with closing(Database.open(places.url)) as database:
            index = write_catalog(database, size)
            write_store(places.index_directory / index.name, size)
            return [{"clips": size, **row} for row in _timed(database, places, index)]


def write_catalog(database: Database, size: int) -> IndexRecord:
    """An index whose clips are those of `write_store`."""
    moment = now()
    with database.writing() as session:
        index = IndexRepository(session).create("index", recipe="{}", recipe_digest=RECIPE, model="/model")
        connection = session.connection()
        for start in range(0, size, 10_000):
            numbers = range(start, min(start + 10_000, size))
            ids = [f"clip-{number:07}" for number in numbers]
            told = {
                each: {
                    "path": f"/clips/{each}.mp4",
                    "caption": "a ball falls to the floor",
                    "extra": {"scene": f"scene {number % SCENES}", "source": each},
                }
                for each, number in zip(ids, numbers, strict=True)
            }
            connection.execute(
                insert(ClipRecord),
                [{"id": each, **told[each], "created_at": moment, "updated_at": moment} for each in ids],
            )
            connection.execute(
                insert(EntryRecord),
                [
                    {
                        "index_id": index.id,
                        "clip_id": each,
                        **told[each],
                        "described_at": moment,
                        "outcome": "indexed",
                        "fingerprint": "f",
                        "segment": "s",
                        "computed_at": moment,
                    }
                    for each in ids
                ],
            )
            connection.execute(
                insert(LabelRecord),
                [
                    {
                        "clip_id": each,
                        "decision": "drop",
                        "note": "",
                        "author": "",
                        "tool": "api",
                        "current": True,
                        "created_at": moment,
                        "ranges": [],
                        "boxes": [],
                    }
                    for each in ids[::LABELLED]
                ],
            )
    return index


def _timed(database: Database, places: CatalogSettings, index: IndexRecord) -> list[dict[str, Any]]:
    vectors = unit_vectors(QUERIES, 1)
    searcher = Searcher.open(places.index_directory / index.name, RECIPE)
    started = time.process_time()
    tally((searcher.scores(vector).values for vector in vectors), 90)
    rows = [
        {"what": "scores and votes alone", "CPU seconds": time.process_time() - started, "peak memory, GB": _peak()}
    ]
    directions = [Direction(vector) for vector in vectors]
    for what, settings in SELECTIONS.items():
        started = time.process_time()
        choose_from(database, searcher, index, directions, settings)
        rows.append({"what": what, "CPU seconds": time.process_time() - started, "peak memory, GB": _peak()})
    started = time.process_time()
    voters = [Voter(vector, {"video": f"/{number}.mp4"}) for number, vector in enumerate(vectors)]
    selection = make_selection(database, places, index, voters, SelectionSettings(budget="10%"))
    rows.append(
        {"what": "a tenth, opened and stored", "CPU seconds": time.process_time() - started, "peak memory, GB": _peak()}
    )
    assert len(selection.outcome) == int(0.1 * searcher.total)
    return rows


def _peak() -> float:
    """The most memory that this process has had, the index's mapped files among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
