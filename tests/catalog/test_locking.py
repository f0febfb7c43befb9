"""A file is held by one at a time, although it is gone in between."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest

from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.locking import held

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_held_by_one_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path) as first, held(path) as second:
        assert (first, second) == (True, False)
        assert path.exists()
    assert not path.exists()
    with held(path) as again:
        assert again


def test_a_file_that_a_killed_process_left_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with held(path) as taken:
        assert taken


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="nowhere"), held(tmp_path / "nowhere" / "lock"):
        pass


def test_never_two_of_many_processes_hold_it(tmp_path: Path) -> None:
    """Each that holds it makes a directory that only one can make, and takes it away again."""
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        taken = pool.map(_take_turns, [tmp_path] * 3)
    assert sum(taken) > 0


def _take_turns(directory: Path) -> int:
    taken = 0
    for _ in range(3000):
        with held(directory / "lock") as mine:
            if mine:
                (directory / "inside").mkdir()  # raises where it is there
                (directory / "inside").rmdir()
                taken += 1
    return taken
