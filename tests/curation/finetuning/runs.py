"""Runs on small models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from motiontrace.curation.finetuning.run import Finetuned, finetune
from tests.videos import moving_square

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from motiontrace.curation.finetuning.clips import ClipList
    from motiontrace.curation.finetuning.encoding import BrokenClip
    from motiontrace.curation.finetuning.settings import FinetuneSettings

LORA = "pytorch_lora_weights.safetensors"
SMALL = {"batch_size": 2, "rank": 4, "lora_alpha": 8, "lr_warmup_steps": 0}


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.broken: list[BrokenClip | None] = []
        self.parameters = 0
        self.first = 0
        self.steps: list[tuple[int, float, float]] = []

    def planned(self, settings: FinetuneSettings, clips: ClipList, draws: int) -> None:
        self.settings, self.clips, self.draws = settings, clips, draws

    def loading(self, what: str) -> None: ...

    def encoded(self, broken: BrokenClip | None, kept: bool) -> None:
        self.broken.append(broken)

    def training(self, clips: int, parameters: int, first: int) -> None:
        self.parameters, self.first = parameters, first

    def stepped(self, done: int, loss: float, learning_rate: float) -> None:
        self.steps.append((done, loss, learning_rate))


def write_clips(folder: Path, count: int, **columns: list[Any]) -> Path:
    """A folder of `count` clips that move differently, with metadata.jsonl; `columns` has more of them."""
    rows = []
    for number in range(count):
        moving_square(folder / f"{number}.mp4", number - 1.5, 1 + number % 3)
        more = {name: values[number] for name, values in columns.items()}
        rows.append({"file_name": f"{number}.mp4", "caption": f"a square that moves {number}"} | more)
    return write_rows(folder, rows)


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def run(
    clips: Path,
    model: Path,
    output: Path,
    *,
    listener: Heard | None = None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Finetuned:
    """A LoRA on the CPU; `options` go to `finetune` itself. Runs on the same clips share what is encoded."""
    wanted = SMALL | settings
    if wanted.get("training_type") == "full":
        wanted = {name: value for name, value in wanted.items() if name not in ("rank", "lora_alpha")}
    options = {"cache": clips.parent / "encoded"} | (options or {})
    return finetune(clips, str(model), output, wanted, listener or Heard(), device="cpu", **options)


def trained(output: Path) -> dict[str, torch.Tensor]:
    """The result's weights by name."""
    lora = output / LORA
    return load_file(lora if lora.exists() else output / "transformer" / "diffusion_pytorch_model.safetensors")


def summary(output: Path) -> dict[str, Any]:
    return json.loads((output / "finetuning.json").read_text())
