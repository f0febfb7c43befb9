"""The fuzzing of benchmarks.fuzz, with few files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from benchmarks.fuzz import fuzz
from benchmarks.mutations import damaged, originals

if TYPE_CHECKING:
    from tests.service.conftest import Corpus


def test_damaged_files_are_refused_or_answered_and_the_service_lives_on(corpus: Corpus) -> None:
    outcomes = fuzz(corpus.home, [], 25, 0)
    assert not outcomes.wrong
    assert not [file.what for file in outcomes.broke]
    assert sum(map(len, outcomes.seconds.values())) == 25
    assert {"422 not_a_video", "201 done ranked"} <= outcomes.seconds.keys()


def test_the_same_seed_gives_the_same_files() -> None:
    first, second, other = (
        [hashlib.sha256(file.content).hexdigest() for file in damaged(originals(), 60, seed)] for seed in (1, 1, 2)
    )
    assert first == second != other
