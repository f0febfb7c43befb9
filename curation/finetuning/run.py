"""A fine-tuning run from a manifest to a folder that diffusers loads.

The clips are encoded, then the encoders are let go of and the denoiser is trained. A run that was stopped, whenever and
however, goes on where it was when it is started again.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs, gather_object

from motiontrace.attribution.families import VideoDenoiser, find_checkpoint, load_denoiser
from motiontrace.catalog.locking import held
from motiontrace.curation.finetuning.adapter import add_lora, require_peft
from motiontrace.curation.finetuning.checkpoints import Checkpoints
from motiontrace.curation.finetuning.clips import read_clips
from motiontrace.curation.finetuning.encoding import BrokenClip, EncodedClips
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.output import read_summary, write_lora, write_pipeline, write_summary
from motiontrace.curation.finetuning.planning import plan_settings, served_timesteps
from motiontrace.curation.finetuning.settings import CheckpointSettings
from motiontrace.curation.finetuning.training import train
from motiontrace.indexer.manifest import by_reason, require_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from diffusers import ModelMixin

    from motiontrace.attribution.families import Checkpoint
    from motiontrace.curation.finetuning.clips import ClipList, WeightedClip
    from motiontrace.curation.finetuning.settings import FinetuneSettings

_SUPPORTED = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
_LONGEST_WAIT = timedelta(hours=12)  # for the processes that still encode
_PACKAGES = ("motiontrace", "torch", "diffusers", "peft", "accelerate")


class Listener(Protocol):
    """Is called as a run goes on, in each of its processes."""

    def planned(self, settings: FinetuneSettings, clips: ClipList, draws: int) -> None:
        """A run begins; `draws` are the clips behind a step."""
        ...

    def loading(self, what: str) -> None:
        """What is read now, which may take minutes."""
        ...

    def encoded(self, broken: BrokenClip | None, kept: bool) -> None:
        """Another clip of this process's share is encoded, or `broken`; `kept`: by an earlier run."""
        ...

    def training(self, clips: int, parameters: int, first: int) -> None:
        """Training of so many parameters begins, after `first` steps of an earlier start."""
        ...

    def stepped(self, done: int, loss: float, learning_rate: float) -> None:
        """So many steps are done; the last one's mean loss and learning rate."""
        ...


@dataclass(frozen=True)
class Finetuned:
    """A finished run."""

    settings: FinetuneSettings
    clips: int
    broken: list[BrokenClip]
    losses: list[float]
    """The mean loss of each step."""
    seconds: float
    """Wall seconds that the steps took."""
    already: bool
    """It had finished before, and nothing was done."""


def finetune(
    manifest: Path,
    model: str,
    output: Path,
    settings: Mapping[str, Any],
    listener: Listener,
    *,
    when: CheckpointSettings = CheckpointSettings(),
    cache: Path | None = None,
    device: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    strict: bool = False,
) -> Finetuned:
    """Fine-tunes the checkpoint `model` on a manifest and leaves the result in `output`.

    `settings` are those of FinetuneSettings and its groups by name, as far as somebody has set them. `cache` is
    where encoded clips are kept, which several runs may share; None: in `output`. All processes of `accelerate
    launch` call this with the same arguments, on a file system that they share. Rows of the manifest that are no clips
    are passed over, unless `strict`.

    Raises ManifestError, ModelError, FinetuningError, GradientError or pydantic's ValidationError where the run cannot
    be made, and KeyboardInterrupt where `stop` ended it.
    """
    before = read_summary(output)  # before anything is written there that holds something else
    listed = read_clips(manifest, strict=strict)
    if before is None or before.get("status") != "finished":
        require_files(manifest, listed.clips)
    checkpoint = find_checkpoint(model)
    planned = plan_settings(checkpoint, settings, device)
    if planned.lora is not None:
        require_peft()
    accelerator = _accelerator(planned, device)
    draws = planned.draws(accelerator.num_processes)
    listener.loading("the checkpoint")
    digest = checkpoint.digest_as((before or {}).get("made_from", {}).get("checkpoint"))
    made_from = {
        "settings": planned.of_the_result(),
        "clips_a_step": draws,
        "checkpoint": digest,
        "manifest_sha256": listed.sha256,
    }
    with ExitStack() as stack:
        if accelerator.is_main_process:
            output.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(held(output / ".lock")):
                raise FinetuningError(f"another run is writing to {output}; wait for it, or give another --output.")
        accelerator.wait_for_everyone()
        checkpoints = Checkpoints(output / "checkpoints", when)
        if (finished := _finished(output, made_from, planned)) is not None:
            if accelerator.is_main_process:
                checkpoints.delete()  # a run that was killed at its very end has left them
            return finished
        listener.planned(planned, listed, draws)
        encoded = EncodedClips(
            cache or output / "cache",
            checkpoint,
            digest,
            planned.clips,
            served_timesteps(planned),
            planned.frozen_dtype,
        )
        clips, broken = _encode(encoded, listed, planned, accelerator, listener)
        keys = hashlib.sha256(json.dumps([(encoded.key(clip), clip.weight) for clip in clips]).encode()).hexdigest()
        made_from |= {"clips_sha256": keys}
        first = checkpoints.latest_step()
        if first:
            _refuse_other(output, made_from)
        listener.loading("the denoiser")
        denoiser = _load(checkpoint, planned, accelerator)
        part = checkpoint.denoiser_folder(served_timesteps(planned))
        parameters = sum(each.numel() for each in denoiser.denoiser.parameters() if each.requires_grad)
        summary = {
            "status": "running",
            "made_from": made_from,
            "model": checkpoint.address,
            "family": checkpoint.family,
            "denoiser": part,
            "manifest": str(manifest.absolute()),
            "clips": len(clips),
            "clips_of_weight_0": listed.left_out,
            "refused_rows": by_reason(listed.refused),
            "broken": [asdict(clip) for clip in broken],
            "trained_parameters": parameters,
            "settings": planned.model_dump(mode="json"),
            "processes": accelerator.num_processes,
            "device": str(accelerator.device),
            "packages": _packages(),
        }
        if accelerator.is_main_process:
            write_summary(output, summary)
        accelerator.wait_for_everyone()
        listener.training(len(clips), parameters, first)
        ended = train(denoiser, clips, encoded, planned, accelerator, checkpoints, when, listener.stepped, stop)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            if planned.lora is not None:
                write_lora(denoiser.denoiser, checkpoint, output)
            else:
                write_pipeline(denoiser.denoiser, checkpoint, part, output)
            summary |= {"status": "finished", "seconds": ended.seconds, "losses": ended.losses}
            write_summary(output, summary)
            checkpoints.delete()
    return Finetuned(planned, len(clips), broken, ended.losses, ended.seconds, already=False)


def _accelerator(settings: FinetuneSettings, device: str | None) -> Accelerator:
    if device not in (None, "cpu", "cuda"):
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)  # accelerate's own way to be told which one
    try:
        accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            cpu=device == "cpu",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
        )
        found = device is None or accelerator.device.type == torch.device(device).type
    except (RuntimeError, ValueError) as error:
        raise FinetuningError(f"accelerate cannot train on {device or 'what there is'}: {error}") from error
    # accelerate launch has a setting of that name, too, and would divide the loss by it once more.
    accelerator.gradient_accumulation_steps = 1
    if not found:
        raise FinetuningError(f"there is no device {device}: accelerate finds {accelerator.device}.")
    if accelerator.distributed_type not in _SUPPORTED:
        raise FinetuningError(
            f"accelerate is set to {accelerator.distributed_type.value}; a copy of the model on each device is what is"
            " supported: accelerate launch --multi_gpu, without FSDP, DeepSpeed and the like."
        )
    return accelerator


def _finished(output: Path, made_from: dict[str, Any], settings: FinetuneSettings) -> Finetuned | None:
    """The result that `output` holds already; FinetuningError where it holds another one."""
    summary = read_summary(output)
    if summary is None or summary.get("status") != "finished":
        return None
    _refuse_other(output, made_from)
    broken = [BrokenClip(**clip) for clip in summary["broken"]]
    return Finetuned(settings, summary["clips"], broken, summary["losses"], summary["seconds"], already=True)


def _refuse_other(output: Path, made_from: dict[str, Any]) -> None:
    """Raises FinetuningError where `output` was begun with something else, saying what differs."""
    begun = _flat((read_summary(output) or {}).get("made_from", {}))
    differences = [
        f"{name}: {begun.get(name)} then, {value} now"
        for name, value in _flat(made_from).items()
        if begun.get(name) != value
    ]
    if differences:
        raise FinetuningError(
            f"{output} holds a run that was made otherwise ({'; '.join(differences)}). Give the same settings and clips"
            " to go on with it, or another --output."
        )


def _encode(
    encoded: EncodedClips, listed: ClipList, settings: FinetuneSettings, accelerator: Accelerator, listener: Listener
) -> tuple[list[WeightedClip], list[BrokenClip]]:
    """The clips that can be trained on, and the others; each process encodes its share."""
    share = listed.clips[accelerator.process_index :: accelerator.num_processes]
    found = encoded.encode(
        share,
        without_caption=settings.caption_dropout_p > 0,
        device=str(accelerator.device),
        on_clip=listener.encoded,
    )
    broken = sorted(gather_object(found), key=lambda clip: clip.number)
    numbers = {clip.number for clip in broken}
    clips = [clip for clip in listed.clips if clip.number not in numbers]
    if not clips:
        raise FinetuningError(f"no clip can be trained on; the first, {broken[0].name}: {broken[0].reason}")
    return clips, broken


def _load(checkpoint: Checkpoint, settings: FinetuneSettings, accelerator: Accelerator) -> VideoDenoiser:
    dtype = settings.frozen_dtype if settings.lora is not None else "float32"
    model = load_denoiser(checkpoint, timesteps=served_timesteps(settings), dtype=dtype, device=str(accelerator.device))
    denoiser: ModelMixin = model.denoiser
    if settings.lora is not None:
        add_lora(denoiser, settings.lora, settings.seed)
    else:
        denoiser.requires_grad_(True)
    if settings.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    return model


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their own names, which are all different."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
