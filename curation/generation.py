"""Videos from a checkpoint's own pipeline: diffusers' pipelines of our families, with or without a LoRA.

A video is drawn by its own seed: the noise that it begins with does not depend on what else is generated with it.
"""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import Checkpoint, build_pipeline, find_checkpoint
from motiontrace.attribution.families.registry import family_of
from motiontrace.attribution.families.weights import first_names
from motiontrace.catalog.installing import how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from diffusers import DiffusionPipeline
    from numpy.typing import NDArray

ADAPTER = "pytorch_lora_weights.safetensors"
"""diffusers' own name of a LoRA's file."""


@dataclass(frozen=True)
class GenerationSettings:
    """What a video is generated with, but for its prompt and its seed.

    Attributes:
        frames, height, width: size of the video; height and width in pixels.
        steps: of the sampler, 1 or more.
        guidance: scale of classifier-free guidance; 1 goes without.
        fps: frames a second that the video is meant to be shown at. The model does not see it.
    """

    frames: int
    height: int
    width: int
    steps: int
    guidance: float
    fps: float

    @classmethod
    def of(cls, checkpoint: Checkpoint, **chosen: float | None) -> GenerationSettings:
        """`chosen` where it is not None, else what motiontrace.json recommends, else the pipeline's own default."""
        family = checkpoint.kind
        parameters = inspect.signature(family.pipeline_class().__call__).parameters
        defaults: dict[str, Any] = {
            "frames": parameters["num_frames"].default,
            "height": parameters["height"].default,
            "width": parameters["width"].default,
            "steps": parameters["num_inference_steps"].default,
            "guidance": parameters["guidance_scale"].default,
            "fps": family.frame_rate,
        } | family.trained_size(checkpoint)
        recommended = {name: checkpoint.recommended.get(name) for name in ("frames", "height", "width", "fps")}
        for values in (recommended, chosen):
            defaults |= {name: value for name, value in values.items() if value is not None}
        _refuse_odd(checkpoint, defaults)
        return cls(**defaults)

    def for_model(self) -> dict[str, Any]:
        """The arguments of `generate`."""
        values = asdict(self)
        del values["fps"]
        return values


def default_dtype(device: str | None) -> str:
    """The number format that a pipeline is loaded in on `device` (None: a GPU where there is one).

    Raises ModelError where torch knows no such device.
    """
    return "float32" if _device(device).type == "cpu" else "bfloat16"


def _device(device: str | None) -> torch.device:
    try:
        return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ModelError(f"there is no device {device!r}: give cpu, cuda or cuda:1, for instance") from error


def load_pipeline(
    model: str,
    adapter: Path | None = None,
    *,
    adapted: str = "transformer",
    device: str | None = None,
    dtype: str | None = None,
) -> DiffusionPipeline:
    """Diffusers' own pipeline of a checkpoint, quiet, from safetensors files only.

    Args:
        model: a diffusers checkpoint folder, or a Hugging Face model id.
        adapter: folder with a LoRA as diffusers saves it (`ADAPTER`), or that file.
        adapted: the part that the LoRA belongs to: transformer, or transformer_2 where it has two.
        device: None takes a GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; None: `default_dtype`. A family's `float32_parts` are float32.

    Raises:
        ModelError: what is missing or does not fit, and where.
    """
    checkpoint = find_checkpoint(model)
    chosen = _device(device)
    kind: torch.dtype = getattr(torch, dtype or default_dtype(device))
    pipeline = build_pipeline(checkpoint, dtype=kind, device=chosen)
    if adapter is not None:
        _load_adapter(pipeline, adapter, adapted, checkpoint.kind.lora_arguments(adapted))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    frames: int,
    height: int,
    width: int,
    steps: int,
    guidance: float,
    batch: int = 8,
    on_step: Callable[[int], None] | None = None,
) -> NDArray[np.uint8]:
    """One video for each prompt and the seed beside it.

    The same prompt and seed give the same video whatever else is generated with it, but for the last bits of the
    arithmetic, which differ between sizes of a batch: a grey level here and there.

    Args:
        pipeline: of `load_pipeline`.
        prompts: N prompts.
        seeds: N seeds, 0 to 2^63 - 1.
        frames: a multiple of the autoencoder's compression in time, plus one.
        height: pixels, a multiple of what the checkpoint asks for (16 for most).
        width: the same.
        steps: of the sampler.
        guidance: scale of classifier-free guidance.
        batch: videos generated at once, at most.
        on_step: called after each step of the sampler with the number of videos in that batch.

    Returns:
        RGB uint8 [N, frames, height, width, 3].

    Raises:
        ModelError: the checkpoint cannot make videos of that size.
        ValueError: there is not a seed for each prompt.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds: give a seed for each prompt")
    videos = np.empty((len(prompts), frames, height, width, 3), dtype=np.uint8)
    for start in range(0, len(prompts), batch):
        piece = slice(start, start + batch)
        videos[piece] = _generate_batch(
            pipeline, list(prompts[piece]), seeds[piece], (frames, height, width), steps, guidance, on_step
        )
    return videos


def _generate_batch(
    pipeline: DiffusionPipeline,
    prompts: list[str],
    seeds: Sequence[int],
    size: tuple[int, int, int],
    steps: int,
    guidance: float,
    on_step: Callable[[int], None] | None,
) -> NDArray[np.uint8]:
    frames, height, width = size
    family = family_of(type(pipeline).__name__)
    if family is None:
        raise ModelError(f"no model family has the pipeline {type(pipeline).__name__}")
    compression = family.temporal_compression(pipeline)
    if (frames - 1) % compression:
        nearest = max(1, round((frames - 1) / compression)) * compression + 1
        raise ModelError(
            f"this checkpoint cannot make {frames} frames: their number must be a multiple of {compression} plus 1,"
            f" {nearest} for instance"
        )

    def after_step(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(len(prompts))
        return tensors

    try:
        videos = pipeline(
            prompts,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance,
            # Drawn on the processor: the same noise on every device.
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
            callback_on_step_end=after_step,
            **family.call_arguments(pipeline, frames),
        ).frames
    except ValueError as error:  # of check_inputs
        raise ModelError(f"this checkpoint cannot make {frames} frames of {width}x{height}: {error}") from error
    if videos.shape[1:4] != size:
        made = f"{videos.shape[1]} frames of {videos.shape[3]}x{videos.shape[2]}"
        raise ModelError(f"this checkpoint cannot make {frames} frames of {width}x{height}; the nearest is {made}")
    return np.round(np.clip(videos, 0, 1) * 255).astype(np.uint8)


def _refuse_odd(checkpoint: Checkpoint, values: dict[str, Any]) -> None:
    """Raises ModelError where a configuration of the checkpoint gave what is no size, or no rate."""
    for name, kinds in {"frames": (int,), "height": (int,), "width": (int,), "fps": (int, float)}.items():
        if type(values[name]) not in kinds or not values[name] > 0:
            raise ModelError(
                f"{name} is {values[name]!r}, and must be a {'' if name == 'fps' else 'whole '}number above 0: see"
                f" {checkpoint.folder / 'motiontrace.json'} and transformer/config.json there, or give it yourself"
            )


def _load_adapter(pipeline: DiffusionPipeline, adapter: Path, adapted: str, arguments: dict[str, Any]) -> None:
    file = adapter / ADAPTER if adapter.is_dir() else adapter
    if not file.is_file():
        raise ModelError(f"there is no LoRA {file}. Give the folder that `motiontrace finetune` wrote.")
    try:
        import peft  # noqa: F401 - diffusers loads adapters through it
    except ImportError as error:
        raise ModelError(f"a LoRA is loaded through peft: {how_to_install('peft')}") from error
    try:
        pipeline.load_lora_weights(
            file.parent, weight_name=file.name, use_safetensors=True, local_files_only=True, **arguments
        )
    except Exception as error:
        raise ModelError(f"the LoRA {file} does not fit the checkpoint: {type(error).__name__}: {error}") from error
    denoiser = getattr(pipeline, adapted)
    if not getattr(denoiser, "peft_config", None):  # where no name fits, diffusers only logs it
        raise ModelError(f"nothing in the LoRA {file} belongs to this checkpoint's {adapted}")
    _refuse_half_an_adapter(pipeline, denoiser, file)


def _refuse_half_an_adapter(pipeline: DiffusionPipeline, denoiser: Any, file: Path) -> None:
    """Raises ModelError unless the LoRA's tensors and the denoiser's are the same, and finite.

    diffusers leaves out what fits nowhere, and fills at random what is missing.
    """
    read = pipeline.lora_state_dict(file.parent, weight_name=file.name, use_safetensors=True, local_files_only=True)
    given = {name.removeprefix("transformer.") for name in read if not name.endswith(".alpha")}
    (name,) = denoiser.peft_config
    added = {key.replace(f".{name}.", "."): each for key, each in denoiser.named_parameters() if f".{name}." in key}
    wrong = {
        "fit nowhere": given - added.keys(),
        "are missing": added.keys() - given,
        "are not finite": {key for key, each in added.items() if key in given and not torch.isfinite(each).all()},
    }
    if said := [
        f"{len(names):,} of its tensors {what} ({first_names(sorted(names))})" for what, names in wrong.items() if names
    ]:
        raise ModelError(
            f"the LoRA {file} does not fit the checkpoint: {'; '.join(said)}. Was it trained on this model, and the"
            " denoiser alone?"
        )
