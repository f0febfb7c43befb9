"""Files of an index that something else writes to while they are mapped: told, and the process lives."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from motiontrace.catalog.errors import StoreDamagedError
from motiontrace.catalog.vectors import Searcher
from tests.catalog.stores import DIGEST, fill
from tests.catalog.vectors import vector, vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDS = [f"{number:04}" for number in range(400)]
QUERY = vector("query")
USES: dict[str, Callable[[Searcher], object]] = {
    "search": lambda searcher: searcher.search(QUERY, 5),
    "search_many": lambda searcher: searcher.search_many(np.stack([QUERY, QUERY]), 5),
    "ranked": lambda searcher: searcher.ranked(QUERY, limit=5),
    "filtered": lambda searcher: searcher.scores(QUERY, IDS[:3]),
    "vector": lambda searcher: searcher.vector(IDS[-1]),
    "ids": lambda searcher: searcher.ids,
    "statistics": lambda searcher: searcher.statistics(),
    "weighted_sum": lambda searcher: searcher.weighted_sum(np.array([399]), np.array([1.0])),
}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return fill(tmp_path / "index", vectors(IDS))


def file_of(index: Path, suffix: str) -> Path:
    [path] = index.glob(f"*{suffix}")
    return path


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("suffix", [".segment", ".faiss"])
def test_what_was_cut_short_is_not_read(index: Path, suffix: str, use: Callable[[Searcher], object]) -> None:
    searcher = Searcher.open(index, DIGEST)
    os.truncate(file_of(index, suffix), 0)
    with pytest.raises(StoreDamagedError, match=r"motiontrace doctor --full"):
        use(searcher)


def test_what_was_written_over_is_not_read(index: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    path = file_of(index, ".faiss")
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # whatever the clock's grain
    with pytest.raises(StoreDamagedError):
        searcher.search(QUERY, 5)


@pytest.mark.parametrize("left", [0, 1, 60, 4096, 5000, -1])
def test_the_next_version_does_without_a_faiss_file_that_was_cut_short(index: Path, left: int) -> None:
    before = Searcher.open(index, DIGEST)
    expected = before.search(QUERY, 5)
    path = file_of(index, ".faiss")
    os.truncate(path, left if left >= 0 else path.stat().st_size - 1)
    assert before.latest().search(QUERY, 5) == expected
    assert Searcher.open(index, DIGEST).search(QUERY, 5) == expected


@pytest.mark.parametrize("left", [0, 1, 60, 200, 4096, -1])
def test_a_segment_that_was_cut_short_is_told_when_it_is_opened(index: Path, left: int) -> None:
    before = Searcher.open(index, DIGEST)
    path = file_of(index, ".segment")
    os.truncate(path, left if left >= 0 else path.stat().st_size - 1)
    for opened in (before.latest, lambda: Searcher.open(index, DIGEST)):
        with pytest.raises(StoreDamagedError, match=path.name):
            opened()


def test_files_that_were_only_touched_or_deleted_are_read(index: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    expected = searcher.search(QUERY, 5)
    for path in index.iterdir():
        os.utime(path, ns=(0, 0))
    searcher = searcher.latest()
    assert searcher.search(QUERY, 5) == expected
    for suffix in (".faiss", ".segment"):
        file_of(index, suffix).unlink()
    assert searcher.search(QUERY, 5) == expected


def test_files_that_were_replaced_by_others_leave_those_that_are_mapped(index: Path, tmp_path: Path) -> None:
    searcher = Searcher.open(index, DIGEST)
    expected = searcher.search(QUERY, 5)
    path = file_of(index, ".segment")
    shutil.copy(path, tmp_path / "other")
    (tmp_path / "other").replace(path)
    assert searcher.search(QUERY, 5) == expected
