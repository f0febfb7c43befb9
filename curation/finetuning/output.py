"""What a run leaves: a folder that diffusers loads, and how it was made.

LoRA: `pytorch_lora_weights.safetensors`. The whole denoiser: a pipeline folder in which the unchanged parts are the
base checkpoint's own files, hard-linked where the file system can.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.durable_files import write_atomically
from motiontrace.curation.finetuning.adapter import save_lora
from motiontrace.curation.finetuning.drafts import drafted
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import ModelMixin

    from motiontrace.attribution.families import Checkpoint

SUMMARY = "finetuning.json"
_INDEX = "model_index.json"
_DRAFT = ".writing"


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What `finetuning.json` in `folder` says; None where there is none.

    Raises FinetuningError where the folder holds a model that no run has made, or the file cannot be read.
    """
    file = folder / SUMMARY
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or (folder / _INDEX).exists()):
            raise FinetuningError(f"{folder} holds something that no fine-tuning made; give another --output.")
        return None
    try:
        summary = json.loads(read_file(file))
        if not isinstance(summary, dict):
            raise ValueError("a JSON object is expected")
        return summary
    except (OSError, ValueError) as error:
        raise FinetuningError(f"{file} cannot be read ({error}); give another --output, or delete it.") from error


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Writes `finetuning.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / SUMMARY, [json.dumps(summary, indent=2).encode(), b"\n"])


def write_lora(denoiser: ModelMixin, checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the adapter; it is there whole or not at all. Raises FinetuningError where there is no room for it."""
    with drafted(folder / _DRAFT) as draft:
        save_lora(denoiser, checkpoint.kind, draft)
        _give_usual_modes(draft)
        for file in draft.iterdir():
            file.replace(folder / file.name)
        draft.rmdir()


def write_pipeline(denoiser: ModelMixin, checkpoint: Checkpoint, part: str, folder: Path) -> None:
    """Writes a whole pipeline with `denoiser` as its `part`; model_index.json comes last, once all is there.

    Raises FinetuningError where there is no room for it.
    """
    with drafted(folder / _DRAFT) as draft:
        denoiser.save_pretrained(draft / part)
        _give_usual_modes(draft)  # before there are links to files of others
        others = [path for path in checkpoint.folder.iterdir() if path.is_dir() and path.name in checkpoint.index]
        for other in others:
            if other.name != part:
                _link(other, draft / other.name)
        for path in draft.iterdir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
            path.rename(folder / path.name)
        for file in checkpoint.folder.glob("*.json"):
            if file.name not in (_INDEX, SUMMARY):
                shutil.copyfile(file, folder / file.name)
        write_atomically(folder / _INDEX, [(checkpoint.folder / _INDEX).read_bytes()])
        draft.rmdir()


def _give_usual_modes(folder: Path) -> None:
    """Lets whoever may read this user's files read these, too: safetensors writes for its user alone."""
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        new = file.with_name(f"{file.name}.new")
        new.touch()
        file.chmod(new.stat().st_mode)
        new.unlink()


def _link(source: Path, target: Path) -> None:
    """A folder with the same files: weights hard-linked, where that can be done, and small files copied."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            try:
                os.link(file.resolve(), place)  # the Hugging Face cache has links to its files
                continue
            except OSError:  # another file system, or one that has no hard links
                pass
        shutil.copyfile(file, place)
