"""Volumes without room: what does not fit is told, and what was half written is gone."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch

from motiontrace.catalog.durable_files import write_atomically
from motiontrace.curation.finetuning.checkpoints import Checkpoints, TrainingState
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.settings import CheckpointSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = 100_000
MUCH, LITTLE = torch.zeros(ROOM), torch.zeros(10)


@contextmanager
def no_room() -> Iterator[None]:
    """Files of more than `ROOM` bytes cannot be written: the system answers as where a volume is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state(step: int, weights: torch.Tensor, moments: torch.Tensor) -> TrainingState:
    return TrainingState(step, [0.5] * step, 1.0, {"a": weights}, {"moments": moments}, {})


@pytest.mark.parametrize(("weights", "moments"), [(MUCH, LITTLE), (LITTLE, MUCH)], ids=["safetensors", "torch"])
def test_a_checkpoint_that_does_not_fit_is_told_and_leaves_the_last_one(
    weights: torch.Tensor, moments: torch.Tensor, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, CheckpointSettings())
    checkpoints.save(state(1, LITTLE, LITTLE))
    with no_room(), pytest.raises(FinetuningError, match=r"cannot be written .*: make room on its volume") as told:
        checkpoints.save(state(2, weights, moments))
    assert str(tmp_path) in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    kept = checkpoints.latest()
    assert kept is not None
    assert kept.step == 1


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latents"
    with no_room(), pytest.raises(OSError, match="too large") as told:
        write_atomically(file, [bytes(2 * ROOM)])
    assert told.value.filename == str(file)
    assert not list(tmp_path.iterdir())
