"""What came of every fine-tune, kept as it comes: an evaluation goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.catalog.durable_files import write_atomically
from motiontrace.curation.evaluation.checks import identities
from motiontrace.files import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.curation.evaluation.clips import Clips
    from motiontrace.curation.evaluation.samples import Sampler
    from motiontrace.curation.evaluation.training import Experiment


class Outcomes:
    """Results of experiments in a file of JSON lines, by everything that they depend on.

    A line that a killed run left unfinished is not read. Not for two processes at once.
    """

    def __init__(self, file: Path, base: dict[str, Any], train: Clips, held_out: Clips) -> None:
        """`base` is what all of its experiments share: the checkpoint's digest and the settings of training."""
        self._file = file
        self._train_ids = identities(train.rows)
        about = {**base, "held_out": identities(held_out.rows)}
        self._base = json.dumps(about, sort_keys=True)
        self.measured = 0
        """How many of its results were measured by this run."""
        self._known: dict[str, dict[str, Any]] = {}
        if file.exists():
            whole, end, unfinished = read_file(file, empty=True).decode().rpartition("\n")
            self._known = {found["key"]: found for found in map(json.loads, whole.splitlines())}
            if unfinished:
                write_atomically(file, [f"{whole}{end}".encode()])  # hours of work are in it

    def get(self, what: str, clips: Sequence[int], seed: int, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of fine-tuning on the training `clips` with `seed`: as it is known, else as it is measured.

        `what` names the measurement; `measure` gives what JSON can hold.
        """
        key = self._key(what, clips, seed)
        if key not in self._known:
            found = {"key": key, "what": what, "clips": len(clips), "seed": seed, **measure()}
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(found) + "\n")
            self._known[key] = found
            self.measured += 1
        return self._known[key]

    def has(self, what: str, clips: Sequence[int], seed: int) -> bool:
        """Whether `get` would answer at once."""
        return self._key(what, clips, seed) in self._known

    def _key(self, what: str, clips: Sequence[int], seed: int) -> str:
        ids = [self._train_ids[place] for place in clips]
        return hashlib.sha256(json.dumps([self._base, what, ids, seed]).encode()).hexdigest()


def held_out_losses(outcomes: Outcomes, experiment: Experiment, clips: Sequence[int], seed: int) -> NDArray[np.float64]:
    """The held-out motion losses [Q] after fine-tuning on the training `clips`; of the base itself for none."""

    def measure() -> dict[str, Any]:
        _train(experiment, clips, seed)
        return {"losses": _losses(experiment)}

    return np.asarray(outcomes.get("losses", clips, seed, measure)["losses"])


def losses_and_samples(
    outcomes: Outcomes,
    experiment: Experiment,
    sampler: Sampler,
    clips: Sequence[int],
    seed: int,
    prompts: Mapping[str, Sequence[str]],
) -> tuple[NDArray[np.float64], dict[str, dict[str, float]]]:
    """The same losses, and what is measured of videos generated after the same fine-tune, by motion of `prompts`."""

    def measure() -> dict[str, Any]:
        _train(experiment, clips, seed)
        samples = {motion: sampler.measures(experiment.weights, motion, texts) for motion, texts in prompts.items()}
        return {"losses": _losses(experiment), "samples": samples}

    what = json.dumps(["losses and samples", sampler.about, {motion: list(texts) for motion, texts in prompts.items()}])
    found = outcomes.get(what, clips, seed, measure)
    return np.asarray(found["losses"]), found["samples"]


def _train(experiment: Experiment, clips: Sequence[int], seed: int) -> None:
    if clips:
        experiment.fine_tune(clips, seed)
    else:
        experiment.reset()


def _losses(experiment: Experiment) -> list[float]:
    return [float(f"{loss:.9g}") for loss in experiment.held_out_losses()]
