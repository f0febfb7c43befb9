"""The two models of a comparison: where they are, and what identifies their videos."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import Checkpoint, find_checkpoint
from motiontrace.curation.generation import ADAPTER, load_pipeline
from motiontrace.files import file_sha256, home_expanded, read_file

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import DiffusionPipeline

    from motiontrace.curation.generation import GenerationSettings

_SUMMARY = "finetuning.json"


@dataclass(frozen=True)
class ComparedModel:
    """A checkpoint, with a LoRA or without.

    Attributes:
        label: "base" or "tuned".
        location: as it was given.
        checkpoint: the checkpoint, of a LoRA the one that it is added to.
        adapter: the LoRA's file, or None.
        adapted: the part that the LoRA belongs to.
        digest: SHA-256 of all that shapes its videos: weights, configuration, tokenizer, sampler, LoRA; 64 hex digits.
    """

    label: str
    location: str
    checkpoint: Checkpoint
    adapter: Path | None
    adapted: str
    digest: str

    def load(self, device: str | None, dtype: str | None) -> DiffusionPipeline:
        """The pipeline; raises ModelError."""
        return load_pipeline(self.checkpoint.location, self.adapter, adapted=self.adapted, device=device, dtype=dtype)

    def video_key(self, prompt: str, seed: int, settings: GenerationSettings, dtype: str) -> str:
        """Name of a video in the cache, 32 hex digits: the same for the same video."""
        about = [self.digest, prompt, seed, settings.for_model(), dtype]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def find_models(base: str, tuned: str) -> tuple[ComparedModel, ComparedModel]:
    """The two models.

    `base` is a checkpoint folder or a hub id. `tuned` is that too, or a folder with a LoRA to be added to `base`,
    as `motiontrace finetune` leaves it.

    Raises ModelError: something is missing, they are of two families, or the LoRA was trained on another checkpoint.
    """
    checkpoint = find_checkpoint(base)
    own = checkpoint.digest()
    first = ComparedModel("base", base, checkpoint, None, "transformer", _digest(checkpoint, own, None))
    folder = home_expanded(tuned)
    file = folder / ADAPTER
    if file.is_file():
        summary = _summary(folder)
        trained_on = summary.get("made_from", {}).get("checkpoint")
        if trained_on is not None and trained_on != checkpoint.digest_as(trained_on):
            raise ModelError(
                f"the LoRA {folder} was trained on another checkpoint, {summary.get('model')}; compare it with that"
            )
        part = summary.get("denoiser", "transformer")
        return first, ComparedModel("tuned", tuned, checkpoint, file, part, _digest(checkpoint, own, file))
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} holds neither a LoRA ({ADAPTER}) nor a diffusers pipeline (model_index.json). Has"
            " `motiontrace finetune` finished there?"
        )
    other = find_checkpoint(tuned)
    if other.family != checkpoint.family:
        raise ModelError(f"{base} is of the {checkpoint.family} family, and {tuned} of {other.family}")
    return first, ComparedModel("tuned", tuned, other, None, "transformer", _digest(other, other.digest(), None))


def _digest(checkpoint: Checkpoint, own: str, adapter: Path | None) -> str:
    total = hashlib.sha256(own.encode())
    scheduler = checkpoint.folder / "scheduler" / "scheduler_config.json"
    if scheduler.is_file():  # loading says what is missing
        total.update(read_file(scheduler))
    if adapter is not None:
        total.update(bytes.fromhex(file_sha256(adapter)))
    return total.hexdigest()


def _summary(folder: Path) -> dict[str, Any]:
    file = folder / _SUMMARY
    if not file.is_file():
        return {}
    try:
        summary = json.loads(read_file(file))
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON: {error}") from error
    return summary if isinstance(summary, dict) else {}
