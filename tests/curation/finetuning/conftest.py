"""Small checkpoints of both families, and a few clips to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.checkpoints import tiny_cogvideox, tiny_wan
from tests.curation.finetuning.runs import write_clips

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="session")
def cogvideox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cogvideox(tmp_path_factory.mktemp("cogvideox"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), count=4)


@pytest.fixture(autouse=True)
def _anew(accelerate_as_in_a_new_process: None) -> None:
    pass
