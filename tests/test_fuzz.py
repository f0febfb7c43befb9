"""The fuzzing of benchmarks.fuzz, with few files."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from benchmarks.fuzz import fuzz
from benchmarks.mutations import damaged, originals

if TYPE_CHECKING:
    import pytest

    from tests.service.conftest import Corpus


def test_damaged_files_are_refused_or_answered_and_the_service_lives_on(corpus: Corpus) -> None:
    outcomes = fuzz(corpus.home, [], 25, 0)
    assert not outcomes.wrong
    assert not [file.what for file in outcomes.broke]
    assert sum(map(len, outcomes.seconds.values())) == 25
    assert {"422 not_a_video", "201 done ranked"} <= outcomes.seconds.keys()


def test_the_same_seed_gives_the_same_files_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests(seed: int) -> list[str]:
        return [hashlib.sha256(file.content).hexdigest() for file in damaged(originals(), 60, seed)]

    first, other = digests(1), digests(2)
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    assert digests(1) == first != other
