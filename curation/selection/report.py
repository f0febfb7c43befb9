"""A table of all clips of the index: what each got, and what became of it, chosen or not."""

from __future__ import annotations

import errno
import os
import uuid
from itertools import chain, islice
from typing import TYPE_CHECKING

from motiontrace.catalog.repositories import CandidateRepository
from motiontrace.curation.selection.choice import Fate
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.writers import table_writer
from motiontrace.curation.selection.writing import about
from motiontrace.formats.file_names import file_name
from motiontrace.formats.spreadsheets import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from motiontrace.catalog.database import Database
    from motiontrace.curation.selection.run import Selection
    from motiontrace.curation.selection.table import Kind

_PORTION = 5000  # clips asked of the catalog at once
SUFFIXES = (".parquet", ".csv", ".jsonl")
_COLUMNS: dict[str, Kind] = {
    "id": "text", "file_name": "text", "path": "text", "fate": "text", "rank": "integer",
    "votes": "integer", "votes_against": "integer", "queries_fought": "integer",
    "score": "number", "weight": "number",
}  # fmt: skip


def check_report(path: Path) -> None:
    """See that a report can be written there; raises SelectionError for its name, FileExistsError where it is there."""
    if path.suffix not in SUFFIXES:
        raise SelectionError(f"the report {path} is named for no table: its name must end in {', '.join(SUFFIXES)}")
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "It is there already: name another file, or remove it", str(path))


def write_report(database: Database, selection: Selection, path: Path) -> None:
    """Write the table in the form that the name says, whole or not at all; clips in the order of the index.

    `queries_fought` is for how many queries a clip scores below zero by more than chance explains. Fates are those of
    `Fate`, and for clips in which nothing moves "no_motion" or "no_motion_kept". Raises what
    `check_report` raises.
    """
    check_report(path)
    outcome, choice, found = selection.outcome, selection.outcome.choice, selection.outcome.tally
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    fates = [fate.name for fate in Fate]
    try:
        with table_writer(unfinished, _COLUMNS, about(selection), for_people=True) as add:
            as_text: Callable[[str], str] = cell if path.suffix == ".csv" else str
            clips = _clips(database, selection.index.id, outcome.ids.runs())
            rows = zip(
                clips,
                choice.fates.tolist(),
                choice.ranks.tolist(),
                found.votes.tolist(),
                found.against.tolist(),
                outcome.fights.tolist(),
                found.score.tolist(),
                choice.weights.tolist(),
                strict=True,
            )
            for clip, fate, *numbers, score, weight in rows:
                cells = (*map(as_text, clip), fates[fate], *numbers, float(f"{score:.7g}"), weight)
                add(dict(zip(_COLUMNS, cells, strict=True)))
            with database.reading() as session:
                still = CandidateRepository(session, selection.index.id).still()
            for clip in _clips(database, selection.index.id, [still]):
                weight = outcome.still.get(clip[0])
                cells = (*map(as_text, clip), "no_motion" if weight is None else "no_motion_kept")
                add(dict.fromkeys(_COLUMNS) | dict(zip(_COLUMNS, cells, strict=False)) | {"weight": weight})
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _clips(database: Database, index_id: int, runs: Iterable[Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    """Of each clip, in the order of `runs` of ids: its id, its file's name and its path."""
    ids = chain.from_iterable(runs)
    while portion := list(islice(ids, _PORTION)):
        with database.reading() as session:
            paths = CandidateRepository(session, index_id).paths(portion)
        for clip_id in portion:
            path = paths.get(clip_id, "")
            yield clip_id, file_name(path), path
