"""What motiontrace finetune shows: progress while it runs, and what came of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from motiontrace.commands.progress import CLIPS, STEPS, Progress
from motiontrace.commands.refusing import print_refused

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from motiontrace.curation.finetuning.clips import ClipList
    from motiontrace.curation.finetuning.encoding import BrokenClip
    from motiontrace.curation.finetuning.run import Finetuned
    from motiontrace.curation.finetuning.settings import FinetuneSettings

_SHOWN = 20
_SMOOTHED = 0.95  # share of the shown loss that is of earlier steps: one step's says little


class Heard(Progress):
    """See `motiontrace.curation.finetuning.run.Listener`."""

    def __init__(self, console: Console, manifest: Path) -> None:
        super().__init__(console)
        self._manifest = manifest
        self._steps = self._broken = 0
        self._loss: float | None = None
        self.training_began = False

    def planned(self, settings: FinetuneSettings, clips: ClipList, draws: int) -> None:
        """A run begins."""
        self.end()
        print_refused(self.console, self._manifest, len(clips.clips) + clips.left_out, clips.refused)
        size = f"{settings.clips.frames} frames of {settings.clips.width}x{settings.clips.height}"
        left_out = f" ({clips.left_out:,} of weight 0 are left out)" if clips.left_out else ""
        self.say(
            f"{len(clips.clips):,} clips{left_out} of {size}, {draws:,} a step, {settings.train_steps:,} steps of"
            f" {settings.training_type}, mixed precision {settings.mixed_precision}"
        )
        self._steps = settings.train_steps
        processes = draws // settings.draws(1)
        self.begin("encoding", -(-len(clips.clips) // processes), CLIPS)

    def encoded(self, broken: BrokenClip | None, kept: bool) -> None:
        """Another clip is encoded."""
        self._broken += broken is not None
        self.step(kept=kept, notes=f"{self._broken:,} broken" if self._broken else "")

    def training(self, clips: int, parameters: int, first: int) -> None:
        """Training begins."""
        self.say(f"training {parameters:,} parameters on {clips:,} clips" + (f", from step {first:,}" * bool(first)))
        self.begin("training", self._steps, STEPS, done=first)
        self.training_began = True

    def stepped(self, done: int, loss: float, learning_rate: float) -> None:
        """Another step is done."""
        self._loss = loss if self._loss is None else _SMOOTHED * self._loss + (1 - _SMOOTHED) * loss
        self.to(done, notes=f"loss {self._loss:.4f}, learning rate {learning_rate:.1e}")


class Silent:
    """Hears a run in the processes that are not its main one."""

    def __init__(self) -> None:
        self.training_began = False

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None: ...

    def planned(self, settings: FinetuneSettings, clips: ClipList, draws: int) -> None:
        """See `motiontrace.curation.finetuning.run.Listener`."""

    def loading(self, what: str) -> None:
        """See `motiontrace.curation.finetuning.run.Listener`."""

    def encoded(self, broken: BrokenClip | None, kept: bool) -> None:
        """See `motiontrace.curation.finetuning.run.Listener`."""

    def training(self, clips: int, parameters: int, first: int) -> None:
        """See `motiontrace.curation.finetuning.run.Listener`."""
        self.training_began = True

    def stepped(self, done: int, loss: float, learning_rate: float) -> None:
        """See `motiontrace.curation.finetuning.run.Listener`."""


def finetuned_document(output: Path, run: Finetuned) -> dict[str, Any]:
    """What came of a run, as JSON values."""
    return {
        "output": str(output),
        "training_type": run.settings.training_type,
        "clips": run.clips,
        "left_out": [
            {"clip": clip.number, "name": clip.name, "code": clip.code, "reason": clip.reason} for clip in run.broken
        ],
        "losses": [loss if math.isfinite(loss) else None for loss in run.losses],
        "seconds": run.seconds,
        "already": run.already,
    }


def print_finetuned(console: Console, output: Path, run: Finetuned) -> None:
    """Prints what came of a run, and how to load it."""
    if run.already:
        console.print(f"{output} holds the result of this run already", markup=False, highlight=False, soft_wrap=True)
    for clip in run.broken[:_SHOWN]:
        console.print(
            f"clip {clip.number} ({clip.name}) is left out: {clip.reason}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if len(run.broken) > _SHOWN:
        console.print(f"... and {len(run.broken) - _SHOWN:,} more; finetuning.json lists them", highlight=False)
    tenth = max(1, len(run.losses) // 10)
    first, last = (sum(part) / len(part) for part in (run.losses[:tenth], run.losses[-tenth:]))
    console.print(
        f"{len(run.losses):,} steps on {run.clips:,} clips in {run.seconds:.0f} s; mean loss of the first tenth"
        f" {first:.4f}, of the last {last:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    if run.settings.lora is None:
        how = f"pipeline in {output}: DiffusionPipeline.from_pretrained({str(output)!r})"
    else:
        second = ", load_into_transformer_2=True" if run.settings.noise_level == "low" else ""
        how = f"LoRA in {output}: pipeline.load_lora_weights({str(output)!r}{second})"
    console.print(how, markup=False, highlight=False, soft_wrap=True)
