"""Checkpoints of a run: all that it needs to go on as if it had not been stopped.

A folder each, `step-00000500`, written under another name and then renamed: what is there is whole.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from motiontrace.catalog.durable_files import sync_directory
from motiontrace.curation.finetuning.drafts import drafted
from motiontrace.curation.finetuning.errors import FinetuningError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from motiontrace.curation.finetuning.settings import CheckpointSettings

_NAME = re.compile(r"step-(\d{8})")
_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.pt", "state.json"


@dataclass(frozen=True)
class TrainingState:
    """A run after `step` steps."""

    step: int
    losses: list[float]
    """The mean loss of each step."""
    seconds: float
    """Wall seconds that the steps took."""
    weights: Mapping[str, torch.Tensor]
    """The trained parameters by name."""
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: Path, settings: CheckpointSettings) -> None:
        self._folder, self._settings = folder, settings

    def save(self, state: TrainingState) -> None:
        """Writes a checkpoint and deletes those above the limit; raises FinetuningError where there is no room."""
        with drafted(self._folder / f"draft-{secrets.token_hex(8)}") as draft:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in state.weights.items()}, draft / _WEIGHTS
            )
            torch.save({"optimizer": state.optimizer, "schedule": state.schedule}, draft / _OPTIMIZER)
            values = {"step": state.step, "seconds": state.seconds, "losses": state.losses}
            (draft / _STATE).write_text(json.dumps(values), encoding="utf-8")
            for file in draft.iterdir():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
            sync_directory(draft)
            place = self._folder / f"step-{state.step:08d}"
            if place.exists():  # the run was stopped after this step, and is now again
                shutil.rmtree(place)
            draft.rename(place)
        sync_directory(self._folder)
        for old in self._found()[: -self._settings.checkpoints_total_limit]:
            shutil.rmtree(old)

    def latest_step(self) -> int:
        """Steps done by the latest checkpoint, 0 where there is none; deletes what a killed run has left unfinished."""
        for draft in self._folder.glob("draft-*"):
            shutil.rmtree(draft, ignore_errors=True)  # other processes of this run delete it, too
        return int(found[-1].name.removeprefix("step-")) if (found := self._found()) else 0

    def latest(self) -> TrainingState | None:
        """The state of the latest checkpoint, on the CPU; raises FinetuningError where it is damaged."""
        if not (found := self._found()):
            return None
        place = found[-1]
        try:
            values = json.loads((place / _STATE).read_text(encoding="utf-8"))
            weights = load_file(place / _WEIGHTS)
            states = torch.load(place / _OPTIMIZER, map_location="cpu", weights_only=True)
            return TrainingState(
                values["step"], values["losses"], values["seconds"], weights, states["optimizer"], states["schedule"]
            )
        except Exception as error:  # each library under it has errors of its own
            raise FinetuningError(
                f"the checkpoint {place} is damaged ({type(error).__name__}). Delete it: the run goes on from the one"
                " before, or from its beginning."
            ) from error

    def delete(self) -> None:
        """Deletes all of them: the run has finished."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("step-*") if _NAME.fullmatch(path.name))
