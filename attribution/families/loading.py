"""Loading the parts of a checkpoint, each checked: a part has every tensor from its own files, or is refused by name.

Both libraries fill what is missing at random and drop what is left over, with no more than a warning. They load from a
folder that holds what was checked and nothing else, so that nothing beside it (adapters, indexes, pickles) steers them.
"""

from __future__ import annotations

import json
import tempfile
import threading
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.diagnosis import TIED, Found, refusal
from motiontrace.attribution.families.documents import read_json
from motiontrace.attribution.families.quiet import silence_libraries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from motiontrace.attribution.families.base import VideoDenoiser, VideoDiffusionModel
    from motiontrace.attribution.families.checkpoint import Checkpoint

_LOADING = threading.RLock()  # diffusers patches torch.nn.Module while it loads: one model at a time


def load_model(
    checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: str, device: str | None = None
) -> VideoDiffusionModel:
    """Loads the checkpoint for some timesteps of training; `device` None takes a GPU where there is one.

    Raises ModelError where a part is missing or damaged, or lacks tensors.
    """
    with _loading_for(checkpoint, timesteps, dtype, device) as (part, kind, chosen):
        denoiser = load_part(checkpoint, part, dtype=kind, device=chosen)
        return checkpoint.kind.model(checkpoint, denoiser, _encoders(checkpoint, kind, chosen))


def load_encoders(
    checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: str, device: str | None = None
) -> VideoDiffusionModel:
    """As `load_model`, but the denoiser gets no weights and takes no memory: only clips can be encoded."""
    with _loading_for(checkpoint, timesteps, dtype, device) as (part, kind, chosen):
        denoiser = empty_denoiser(checkpoint, part, kind)
        return checkpoint.kind.model(checkpoint, denoiser, _encoders(checkpoint, kind, chosen))


def load_denoiser(
    checkpoint: Checkpoint, *, timesteps: Sequence[float], dtype: str, device: str | None = None
) -> VideoDenoiser:
    """As `load_model`, without the encoders: for clips that are encoded already."""
    with _loading_for(checkpoint, timesteps, dtype, device) as (part, kind, chosen):
        return checkpoint.kind.denoiser(checkpoint, load_part(checkpoint, part, dtype=kind, device=chosen))


def build_pipeline(checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device) -> Any:
    """Diffusers' own pipeline of the checkpoint. Raises ModelError as `load_model`."""
    import torch

    family = checkpoint.kind
    denoisers = family.denoisers if checkpoint.boundary else family.denoisers[:1]
    _require_parts(checkpoint, denoisers)
    with _loading(checkpoint, device):
        formats = dict.fromkeys(family.float32_parts, torch.float32)
        parts = {
            part: load_part(checkpoint, part, dtype=formats.get(part, dtype), device=device)
            for part in checkpoint.weights
        }
        tokenizers = {name: load_tokenizer(checkpoint, name) for name in family.tokenizers}
        more = family.pipeline_arguments(checkpoint)
        return family.pipeline_class()(**parts, **tokenizers, scheduler=load_scheduler(checkpoint), **more)


@contextmanager
def _loading_for(
    checkpoint: Checkpoint, timesteps: Sequence[float], dtype: str, device: str | None
) -> Iterator[tuple[str, torch.dtype, torch.device]]:
    """While a model is loaded: the folder of the denoiser that serves `timesteps`, the number format and the device."""
    import torch

    part = checkpoint.denoiser_folder(timesteps)
    _require_parts(checkpoint, [part])
    with _loading(checkpoint, device or "the default device"):
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        checkpoint.kind.check_training(checkpoint)
        yield part, getattr(torch, dtype), chosen


def _encoders(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What encodes, and the tokenizers, by folder."""
    import torch

    # The autoencoder stays in float32: in half precision it loses detail, and it is a small part of the cost.
    parts = {
        part: load_part(checkpoint, part, dtype=torch.float32 if part == "vae" else dtype, device=device)
        for part in checkpoint.kind.encoders
    }
    return parts | {name: load_tokenizer(checkpoint, name) for name in checkpoint.kind.tokenizers}


def _require_parts(checkpoint: Checkpoint, denoisers: Sequence[str]) -> None:
    """Raises ModelError that names the folders which a checkpoint lacks: of these denoisers and of all else."""
    family = checkpoint.kind
    parts = (*sorted(("scheduler", *family.encoders, *family.tokenizers)), *denoisers)
    if missing := [part for part in parts if not (checkpoint.folder / part).is_dir()]:
        raise ModelError(f"{checkpoint.folder} is not whole: it has no folder {', '.join(missing)}. Copy it again.")


@contextmanager
def _loading(checkpoint: Checkpoint, device: object) -> Iterator[None]:
    """While parts are loaded: one model at a time, quietly; what any library raises becomes a ModelError."""
    try:
        with _LOADING:
            silence_libraries()
            yield
    except ModelError:
        raise
    except Exception as error:  # each library under it has errors of its own
        raise ModelError(
            f"the checkpoint {checkpoint.folder} could not be loaded on {device}: {type(error).__name__}: {error}"
        ) from error


def load_part(checkpoint: Checkpoint, part: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """A part that has weights, frozen, in evaluation, on `device`; dtype as the library's own exceptions have it.

    Raises ModelError where a tensor is missing, left over, of another shape, or not finite.
    """
    library, name = _class_of(checkpoint, part)
    with _view(checkpoint, part) as folder, _blaming(checkpoint, part, f"{library.__name__}' {name}"):
        module, found = getattr(library, name).from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that all of them are reported
        )
    if wrong := Found.of(found, checkpoint.weights[part].tensors.keys() - module.state_dict().keys(), part):
        raise refusal(checkpoint, part, wrong)
    _restore_name(module, checkpoint)
    module.to(device)
    _refuse_values(checkpoint, part, module)
    return module.eval().requires_grad_(False)


def empty_denoiser(checkpoint: Checkpoint, part: str, dtype: torch.dtype) -> Any:
    """The denoiser without weights, on the meta device: there for what its configuration says."""
    import torch

    library, name = _class_of(checkpoint, part)
    with torch.device("meta"):
        module = getattr(library, name).from_config(read_json(checkpoint.folder / part / "config.json"))
    torch.nn.Module.to(module, dtype)  # diffusers' own warns of weights, and there are none
    return module.eval().requires_grad_(False)


def load_tokenizer(checkpoint: Checkpoint, folder: str = "tokenizer") -> Any:
    """A tokenizer, from files that hold data alone; ModelError where it is damaged, or not the text encoder's."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="motiontrace-") as place:
        for file in checkpoint.tokenizer_files(folder):
            (Path(place) / file.name).symlink_to(file.resolve())
        with _blaming(checkpoint, folder, "transformers' AutoTokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    if tokenizer.pad_token is None:
        raise ModelError(
            f"the checkpoint {checkpoint.folder} could not be loaded: its {folder} has no token to pad prompts with."
            f" Is {folder}/tokenizer_config.json whole? Copy the checkpoint again."
        )
    encoder = checkpoint.kind.tokenizers[folder]
    known = read_json(checkpoint.folder / encoder / "config.json").get("vocab_size")
    if isinstance(known, int) and len(tokenizer) > known:
        raise ModelError(
            f"the checkpoint {checkpoint.folder} could not be loaded: its {folder} has {len(tokenizer):,} tokens, and"
            f" its {encoder} knows {known:,}. They are of two models; copy both from one checkpoint."
        )
    return tokenizer


def load_scheduler(checkpoint: Checkpoint, name: str | None = None) -> Any:
    """The scheduler by the checkpoint's configuration, of diffusers' class `name`; None: as model_index.json says.

    Raises ModelError where there is no such scheduler.
    """
    import diffusers

    name = name or (checkpoint.index.get("scheduler") or [None, None])[1] or ""
    made = getattr(diffusers, name, None)
    if not isinstance(made, type) or not issubclass(made, diffusers.SchedulerMixin):
        raise ModelError(f"{checkpoint.folder / 'model_index.json'}: {name!r} is no scheduler of diffusers.")
    return made.from_config(read_json(checkpoint.folder / "scheduler" / "scheduler_config.json"))  # type: ignore[attr-defined]


@contextmanager
def _view(checkpoint: Checkpoint, part: str) -> Iterator[str]:
    """A folder of the part's configuration and checked weights alone, by links."""
    weights = checkpoint.weights[part]
    with tempfile.TemporaryDirectory(prefix="motiontrace-") as place:
        folder = Path(place)
        (folder / "config.json").write_bytes((checkpoint.folder / part / "config.json").read_bytes())
        for file in weights.files:
            (folder / file.name).symlink_to(file.resolve())
        if weights.index is not None:
            listed = {name: tensor.file.name for name, tensor in weights.tensors.items()}
            (folder / weights.index).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
        yield place


@contextmanager
def _blaming(checkpoint: Checkpoint, part: str, reader: str) -> Iterator[None]:
    """What a library raises over a part becomes a ModelError that names the part."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"the checkpoint {checkpoint.folder} could not be loaded: its {part} is none that {reader} takes"
            f" ({type(error).__name__}: {said}). Do its files belong together? Copy the checkpoint again."
        ) from error


def _class_of(checkpoint: Checkpoint, part: str) -> tuple[Any, str]:
    found = checkpoint.kind.parts[part]
    return import_module(found.library), found.class_name


def _restore_name(module: Any, checkpoint: Checkpoint) -> None:
    """Where a part was loaded from is written into what is saved of it: not the folder of links."""
    if hasattr(module, "register_to_config"):
        module.register_to_config(_name_or_path=str(checkpoint.folder))
    else:
        module.config.name_or_path = str(checkpoint.folder)


def _refuse_values(checkpoint: Checkpoint, part: str, module: torch.nn.Module) -> None:
    """Raises ModelError where a tensor has no values or not finite ones, or one embedding has two values."""
    import torch

    tensors: dict[str, torch.Tensor] = module.state_dict()
    if empty := sorted(name for name, tensor in tensors.items() if tensor.is_meta):
        raise refusal(checkpoint, part, Found(missing=empty))
    if odd := sorted(name for name, tensor in tensors.items() if not _is_finite(tensor)):
        raise refusal(checkpoint, part, Found(not_finite=odd))
    tied = [tensors[name] for name in TIED if name in tensors]
    if len(tied) > 1 and not torch.equal(*tied):
        raise refusal(checkpoint, part, Found(two_values=list(TIED)))


def _is_finite(tensor: torch.Tensor) -> bool:
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))  # many times quicker than one by one
