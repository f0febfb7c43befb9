"""Finding a diffusers checkpoint, telling its family, fingerprinting its weights, loading it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from attribution.errors import ModelError
from attribution.families.cogvideox import TRAINING_SCHEDULE, CogVideoXModel
from attribution.families.wan import WanModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attribution.families.base import VideoDenoiser, VideoDiffusionModel

_FAMILIES: dict[str, type[CogVideoXModel] | type[WanModel]] = {"cogvideox": CogVideoXModel, "wan": WanModel}
_PIPELINES = {"CogVideoXPipeline": "cogvideox", "WanPipeline": "wan"}
_WEIGHTED = ("transformer", "transformer_2", "vae", "text_encoder")
_SHAPING = ("boundary_ratio", "expand_timesteps")  # keys of model_index.json that change what the denoiser does
_SCHEDULES = {"cogvideox": TRAINING_SCHEDULE}  # Wan's schedule of training is the same for every checkpoint
_ALWAYS = ("scheduler", "text_encoder", "tokenizer", "vae")
_DEFAULTS = "motiontrace.json"
_LOADING = threading.Lock()  # diffusers patches torch.nn.Module while it loads: one model at a time


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: its folder, family, model_index.json, and recipe settings that its makers recommend."""

    location: str
    folder: Path
    family: str
    index: dict[str, Any]
    recommended: dict[str, Any]
    """Contents of ``motiontrace.json`` beside model_index.json, if there: defaults for fields of the recipe."""

    @property
    def address(self) -> str:
        """Where to find the checkpoint again from any directory: its absolute folder, or its hub id."""
        is_folder = Path(self.location).expanduser().is_dir()
        return str(self.folder.resolve()) if is_folder else self.location

    def digest(self) -> str:
        """SHA-256 over what shapes a gradient: weights, configurations, tokenizer, schedule of training; 64 hex digits.

        Raises ModelError where a component has no safetensors file: pickled weights are never loaded.
        """
        total = hashlib.sha256(json.dumps([self.index.get(key) for key in _SHAPING]).encode())
        for part in _WEIGHTED:
            files = sorted((self.folder / part).glob("*.safetensors"))
            if not files and (self.folder / part).is_dir():
                raise ModelError(
                    f"{self.folder / part} has no .safetensors file. Only safetensors weights are loaded; save the"
                    " model again with save_pretrained(..., safe_serialization=True)."
                )
            if files:
                config = _read_json(self.folder / part / "config.json")
                # Names that begin with an underscore say where and with what it was saved.
                meant = {key: value for key, value in config.items() if not key.startswith("_")}
                total.update(f"{part}:{json.dumps(meant, sort_keys=True)}\n".encode())
        for part in (*_WEIGHTED, "tokenizer"):
            pattern = "*.safetensors" if part in _WEIGHTED else "*"
            for file in sorted((self.folder / part).glob(pattern)):
                stat = file.stat()
                total.update(f"{part}/{file.name}:{_file_digest(file, stat.st_size, stat.st_mtime_ns)}\n".encode())
        if keys := _SCHEDULES.get(self.family):
            config = _read_json(self.folder / "scheduler" / "scheduler_config.json")
            total.update(f"scheduler:{json.dumps([config.get(key) for key in keys])}\n".encode())
        return total.hexdigest()

    def denoiser_folder(self, timesteps: Sequence[float]) -> str:
        """Name of the folder with the denoiser that serves ``timesteps``; ModelError where they need both of two."""
        return _FAMILIES[self.family].denoiser_folder(self.index, timesteps)

    def served_together(self, timesteps: Sequence[float]) -> tuple[float, ...]:
        """The most of ``timesteps`` that one denoiser serves: all where the checkpoint has one denoiser."""
        served: dict[str, list[float]] = {}
        for timestep in timesteps:
            served.setdefault(self.denoiser_folder([timestep]), []).append(timestep)
        most: list[float] = max(served.values(), key=len)
        return tuple(most)

    def denoiser_parameters(self, timesteps: Sequence[float]) -> dict[str, int]:
        """How many numbers each parameter of the denoiser has, by name, read off the files without loading them."""
        part = self.folder / self.denoiser_folder(timesteps)
        counts: dict[str, int] = {}
        for file in sorted(part.glob("*.safetensors")):
            try:
                with safe_open(file, "numpy") as tensors:
                    names = tensors.keys()  # what it opens is not iterable itself
                    counts |= {name: math.prod(tensors.get_slice(name).get_shape()) for name in names}
            except SafetensorError as error:
                raise ModelError(f"{file} is damaged: {error}") from error
        return counts


@lru_cache
def _file_digest(file: Path, size: int, modified_ns: int) -> str:
    """SHA-256 of a file; read once in a process while size and time of change stay."""
    blob = file.resolve().name
    if file.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob):
        return blob  # the Hugging Face cache names its large blobs by their SHA-256
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_checkpoint(location: str) -> Checkpoint:
    """The checkpoint at ``location``: a diffusers folder, or a Hugging Face model id (downloaded unless cached).

    Raises ModelError that says what was looked for and where.
    """
    folder = Path(location).expanduser()
    if not folder.is_dir():
        folder = _download(location)
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise ModelError(
            f"{folder} has no model_index.json, so it is not a diffusers pipeline folder. Give the folder that"
            " pipeline.save_pretrained() wrote, the one that holds transformer/, vae/ and text_encoder/."
        )
    index = _read_json(index_file)
    pipeline = index.get("_class_name")
    if pipeline not in _PIPELINES:
        raise ModelError(f"{index_file} names the pipeline {pipeline!r}; supported: {', '.join(sorted(_PIPELINES))}.")
    defaults = folder / _DEFAULTS
    recommended = _read_json(defaults) if defaults.is_file() else {}
    # What is measured on one index's clips no checkpoint can recommend.
    for measured in ("channel_scales", "gradient_scales"):
        recommended.pop(measured, None)
    if isinstance(projection := recommended.get("projection"), dict):
        projection.pop("basis", None)
    return Checkpoint(location, folder, _PIPELINES[pipeline], index, recommended)


def _download(location: str) -> Path:
    if location.startswith((".", "/", "~")) or location.count("/") != 1:
        raise ModelError(
            f"there is no folder {location}. Give a diffusers checkpoint folder or a model id such as owner/name."
        )
    wanted = ["*.json", "*.safetensors", "tokenizer/*"]
    try:
        # The small file first: without it gigabytes would be fetched for nothing.
        folder = Path(snapshot_download(location, allow_patterns="model_index.json"))
        if not (folder / "model_index.json").is_file():
            return folder
        return Path(snapshot_download(location, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"there is no folder {location}, and the model of that id could not be fetched from the hub: {error}"
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{file} could not be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object")
    return values


def load_model(
    checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: str, device: str | None = None
) -> VideoDiffusionModel:
    """Loads the checkpoint for some timesteps of training; ``device`` None takes a GPU where there is one.

    Raises ModelError where a part is missing or damaged.
    """
    return _load(checkpoint, timesteps, dtype, device, _FAMILIES[checkpoint.family].load)


def load_encoders(
    checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: str, device: str | None = None
) -> VideoDiffusionModel:
    """As :func:`load_model`, but the denoiser gets no weights and takes no memory: only clips can be encoded."""
    return _load(checkpoint, timesteps, dtype, device, partial(_FAMILIES[checkpoint.family].load, weights=False))


def load_denoiser(
    checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: str, device: str | None = None
) -> VideoDenoiser:
    """As :func:`load_model`, without the encoders: for clips that are encoded already."""
    return _load(checkpoint, timesteps, dtype, device, _FAMILIES[checkpoint.family].load_denoiser)


def _load(checkpoint: Checkpoint, timesteps: Sequence[float], dtype: str, device: str | None,
          load: Callable[..., Any]) -> Any:  # fmt: skip
    parts = (*_ALWAYS, checkpoint.denoiser_folder(timesteps))
    if missing := [part for part in parts if not (checkpoint.folder / part).is_dir()]:
        raise ModelError(f"{checkpoint.folder} is not whole: it has no folder {', '.join(missing)}. Copy it again.")
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with _LOADING:
            return load(
                checkpoint.folder, checkpoint.index, timesteps=timesteps, dtype=getattr(torch, dtype), device=chosen
            )
    except ModelError:
        raise
    except Exception as error:  # each library under it has errors of its own
        raise ModelError(
            f"the checkpoint {checkpoint.folder} could not be loaded on {device or 'the default device'}:"
            f" {type(error).__name__}: {error}"
        ) from error
