"""Finds a diffusers checkpoint, its family and its files. Loads no model code."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import fingerprint
from motiontrace.attribution.families.base import TRAIN_TIMESTEPS, Family
from motiontrace.attribution.families.configuration import check_index, check_part, check_tokenizer
from motiontrace.attribution.families.documents import read_json
from motiontrace.attribution.families.quiet import hub_bars
from motiontrace.attribution.families.registry import family_of
from motiontrace.attribution.families.strangers import INDEX, another_pipeline, names_in, not_a_folder, not_a_pipeline
from motiontrace.attribution.families.weights import MERGE, Weights, adapter_in, find_weights
from motiontrace.files import home_expanded

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULTS = "motiontrace.json"
_TOKENIZER = (".json", ".model", ".txt")
_SMALL = [INDEX, "config.json", "adapter_config.json", "modular_model_index.json"]
_WANTED = ["*.json", "*/*.safetensors", "tokenizer*/*"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk, with weights that may be loaded: in safetensors files of its own folders."""

    location: str
    folder: Path
    kind: Family
    index: dict[str, Any]
    """Contents of model_index.json."""
    weights: dict[str, Weights]
    """By part, of the parts that are there."""
    recommended: dict[str, Any]
    """Contents of `motiontrace.json` beside model_index.json, if there: defaults for fields of the recipe."""

    @property
    def family(self) -> str:
        """Name of its family."""
        return self.kind.name

    @property
    def address(self) -> str:
        """Where to find the checkpoint again from any directory: its absolute folder, or its hub id."""
        is_folder = home_expanded(self.location).is_dir()
        return str(self.folder.resolve()) if is_folder else self.location

    def tokenizer_files(self, tokenizer: str = "tokenizer") -> list[Path]:
        """What a tokenizer is read from, by name: files that run no code and are no pickles."""
        files = (path for path in (self.folder / tokenizer).glob("*") if not path.name.startswith("."))
        return sorted(path for path in files if path.suffix in _TOKENIZER and path.is_file())

    @property
    def boundary(self) -> float | None:
        """Where timesteps of the one denoiser end and those of the other begin, from 0 to 1; None where it has one."""
        return self.index.get("boundary_ratio") or None

    @property
    def token_timesteps(self) -> bool:
        """Whether the denoiser takes a timestep a token, as Wan 2.2 TI2V does."""
        return bool(self.index.get("expand_timesteps"))

    def digest(self) -> str:
        """SHA-256 over what shapes a gradient: weights, configurations, tokenizer, schedule of training; 64 hex digits.

        It is of content alone: a folder and a hub id of the same files have the same. Raises ModelError where a file
        cannot be read.
        """
        return fingerprint.digest(self)

    def digest_as(self, known: str | None) -> str:
        """`known` where it is a digest that an earlier version gave to this same content, else `digest`."""
        own = self.digest()
        return own if known is None or known == own or known not in fingerprint.formers(self) else known

    def denoiser_folder(self, timesteps: Sequence[float]) -> str:
        """Name of the folder with the denoiser that serves `timesteps`; ModelError where they need both of two."""
        noisy, clean = self.kind.denoisers[0], self.kind.denoisers[-1]
        boundary = (self.boundary or 0) * TRAIN_TIMESTEPS if clean != noisy else 0
        below = {timestep < boundary for timestep in timesteps}
        if len(below) > 1:
            raise ModelError(
                f"this checkpoint has one transformer for timesteps from {boundary:g} on and one for those below; give"
                " timesteps of one side, and make an index for each"
            )
        return clean if below == {True} else noisy

    def served_together(self, timesteps: Sequence[float]) -> tuple[float, ...]:
        """The most of `timesteps` that one denoiser serves: all where the checkpoint has one denoiser."""
        served: dict[str, list[float]] = {}
        for timestep in timesteps:
            served.setdefault(self.denoiser_folder([timestep]), []).append(timestep)
        most: list[float] = max(served.values(), key=len)
        return tuple(most)

    def denoiser_parameters(self, timesteps: Sequence[float]) -> dict[str, int]:
        """How many numbers each parameter of the denoiser has, by name, read off the files without loading them."""
        weights = self.weights.get(self.denoiser_folder(timesteps))
        return {} if weights is None else {name: math.prod(each.shape) for name, each in weights.tensors.items()}


def find_checkpoint(location: str) -> Checkpoint:
    """The checkpoint at `location`: a diffusers folder, or a Hugging Face model id (downloaded unless cached).

    Nothing large is read. Raises ModelError that says what was looked for and where, and what was found instead: a
    LoRA, a single file, another pipeline, pickles, quantised weights, files elsewhere.
    """
    try:
        return _find(location)
    except OSError as error:
        raise ModelError(f"{error.filename or location} could not be read: {error.strerror or error}") from error


def _find(location: str) -> Checkpoint:
    folder = home_expanded(location)
    if not folder.is_dir():
        if folder.exists():
            raise not_a_folder(folder)
        folder = _download(location)
    index_file = folder / INDEX
    if not index_file.is_file():
        raise not_a_pipeline(folder, folder, names_in(folder))
    index = read_json(index_file)
    kind = family_of(index.get("_class_name"))
    if kind is None:
        raise another_pipeline(index_file, index)
    check_index(index_file, index, kind)
    if (adapter := adapter_in(folder)) is not None:
        raise ModelError(
            f"the checkpoint {folder} could not be loaded: a LoRA lies beside it, {adapter}, which would"
            f" not be used. {MERGE} Or move it to another folder."
        )
    parts = [part for part in kind.parts if (folder / part).is_dir()]
    for part in parts:
        check_part(folder / part, kind)
    kind.check(folder)
    for tokenizer in kind.tokenizers:
        check_tokenizer(folder / tokenizer)
    weights = {part: find_weights(folder / part, kind.parts[part].stem) for part in parts}
    return Checkpoint(location, folder, kind, index, weights, _recommended(folder / _DEFAULTS))


def _recommended(file: Path) -> dict[str, Any]:
    recommended = read_json(file) if file.exists() or file.is_symlink() else {}  # read_json refuses a pipe or a folder
    # What is measured on one index's clips no checkpoint can recommend.
    for measured in ("channel_scales", "gradient_scales"):
        recommended.pop(measured, None)
    if isinstance(projection := recommended.get("projection"), dict):
        projection.pop("basis", None)
    return recommended


def _download(location: str) -> Path:
    if location.startswith((".", "/", "~")) or location.count("/") != 1:
        raise ModelError(
            f"there is no folder {location}. Give a diffusers checkpoint folder or a model id such as owner/name."
        )
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # The small files first: they say whether gigabytes would be fetched for nothing.
        with hub_bars(shown=False):
            folder = Path(snapshot_download(location, allow_patterns=_SMALL))
        if not (folder / INDEX).is_file():
            raise not_a_pipeline(f"the hub's {location}", folder, HfApi().list_repo_files(location))
        with hub_bars(shown=sys.stderr.isatty()):
            return Path(snapshot_download(location, allow_patterns=_WANTED))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"there is no folder {location}, and the model of that id could not be fetched from the hub: {error}"
        ) from error
