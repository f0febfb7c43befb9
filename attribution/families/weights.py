"""Which files the weights of a part of a checkpoint are in, and what these files hold, read off their headers.

What a library may load is settled here: `.safetensors` files that lie in the part's folder under a bare name.
Pickles, files elsewhere, adapters and quantised weights are refused, before a byte of a tensor is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.documents import kind_of, read_json
from motiontrace.files import FileError, check_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SUFFIX = ".safetensors"
ADAPTERS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_lora_weights.safetensors",
    "pytorch_lora_weights.bin",
)
"""Files in which peft and diffusers keep an adapter."""
MERGE = (
    "Merge it into the weights: pipeline.load_lora_weights(...), pipeline.fuse_lora(), pipeline.unload_lora_weights(),"
    " then pipeline.save_pretrained(...) to a new folder."
)
"""What to do with an adapter that is meant to take part."""
_ADAPTER = re.compile(r"lora|\.base_layer\.|hada_w|lokr_w|dora_scale", re.IGNORECASE)
_PLAIN = {"F64", "F32", "F16", "BF16"}
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
_LFS = b"version https://git-lfs"
_NAMES = 3


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header has it."""

    file: Path
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """The weights of one part of a checkpoint.

    Attributes:
        part: name of its folder.
        files: what is loaded, by name.
        tensors: every tensor in them, by name.
        index: name of the file that says which tensor is where; None where there is one file.
    """

    part: str
    files: tuple[Path, ...]
    tensors: Mapping[str, Tensor]
    index: str | None


def find_weights(folder: Path, stem: str) -> Weights:
    """The weights in `folder`, a part of a checkpoint.

    `stem` is the name that its library gives weights: `model` or `diffusion_pytorch_model`. Raises ModelError
    that names the file and says what to do, where something else than whole safetensors files would be loaded.
    """
    if (adapter := adapter_in(folder, stem)) is not None:
        raise _refusal(
            folder,
            f"{adapter} lies beside its weights: an adapter (LoRA), which would not be used",
            f"{MERGE} Or move it out of {folder.name}/.",
        )
    single, index = folder / f"{stem}{SUFFIX}", folder / f"{stem}{SUFFIX}.index.json"
    if single.exists() and index.exists():
        raise _refusal(
            folder,
            f"it has weights twice, in {single.name} and in the files that {index.name} names",
            "Move away the ones that are not meant.",
        )
    if index.exists():
        listed = _listed(index)
        files = tuple(folder / name for name in sorted(set(listed.values())))
    elif single.exists() or single.is_symlink():
        listed, files = {}, (single,)
    else:
        raise _nothing_to_load(folder, stem)
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _header(file).items():
            if name in tensors:
                raise _refusal(
                    folder,
                    f"the tensor {name} is in two files, {tensors[name].file.name} and {file.name}",
                    "Copy the weights again, or move the file away that is not theirs.",
                )
            tensors[name] = tensor
    if wrong := sorted(name for name, file in listed.items() if name not in tensors or tensors[name].file.name != file):
        raise _refusal(
            folder,
            f"{index.name} says that {first_names(wrong)} would be in {listed[wrong[0]]}, and not so",
            "Copy the index and the files that it names again, from one place.",
        )
    return Weights(folder.name, files, tensors, index.name if listed else None)


def adapter_in(folder: Path, stem: str | None = None) -> str | None:
    """Name of an adapter in `folder`, by its name or by the tensors in it; None where there is none.

    Files that are called `stem`, variants and shards among them, are weights, and not looked into.
    """
    if named := [name for name in ADAPTERS if (folder / name).exists()]:
        return named[0]
    others = (
        file for file in folder.glob(f"*{SUFFIX}") if not (stem and file.name.startswith((f"{stem}.", f"{stem}-")))
    )
    return next((file.name for file in sorted(others) if is_adapter(_names(file))), None)


def is_adapter(tensors: Iterable[str]) -> bool:
    """Whether a file of tensors of these names is a LoRA."""
    return any(_ADAPTER.search(name) for name in tensors)


def _names(file: Path) -> list[str]:
    """Names of the tensors in a file that is not loaded; none where it cannot be read."""
    try:
        check_file(file)
        with safe_open(file, "numpy") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError):
        return []


def first_names(names: list[str]) -> str:
    """Names for an error message: the first three, and how many more there are."""
    rest = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + rest


def _listed(index: Path) -> dict[str, str]:
    """The file that an index names for each tensor, every one bare, safetensors and there."""
    folder, listed = index.parent, read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise _refusal(
            folder,
            f"weight_map in {index.name} must name a file for each tensor, and is {kind_of(listed)}",
            "Copy it again.",
        )
    for name in sorted(set(listed.values())):
        if name != Path(name).name or "\\" in name or name.startswith("."):
            raise _refusal(
                folder,
                f"{index.name} names {name!r}, which is not the bare name of a file beside it",
                "Weights are loaded from the part's own folder only.",
            )
        if not name.endswith(SUFFIX):
            raise _refusal(
                folder,
                f"{index.name} names {name!r}, which is no {SUFFIX} file: it may hold a pickle, which can run code",
                f"Save the model again with safe serialization: {_SAVE}",
            )
    return listed


_SAVE = "model.save_pretrained(folder, safe_serialization=True)."


def _header(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; ModelError where it is damaged, no safetensors, or quantised."""
    try:
        check_file(file)
        with safe_open(file, "numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
            dtypes = {name: str(each.get_dtype()) for name, each in slices.items()}
            found = {name: Tensor(file, tuple(each.get_shape())) for name, each in slices.items()}
    except FileError as error:
        raise _refusal(file.parent, f"{file.name} {error.reason}", "Copy the checkpoint again.") from error
    except (SafetensorError, OSError) as error:
        with file.open("rb") as stream:
            pointer = stream.read(len(_LFS)) == _LFS
        if pointer:
            raise _refusal(
                file.parent,
                f"{file.name} is a pointer of Git LFS, not the file itself",
                "Run `git lfs pull` in its repository.",
            ) from error
        raise _refusal(
            file.parent, f"{file.name} is damaged or cut off ({error})", "Copy the checkpoint again."
        ) from error
    if other := sorted(name for name, dtype in dtypes.items() if dtype not in _PLAIN):
        raise _refusal(
            file.parent,
            f"{file.name} has quantised weights: {first_names(other)} ({len(other):,} of {len(dtypes):,} tensors)"
            f" are {dtypes[other[0]]}",
            "Give the checkpoint in bfloat16, float16 or float32.",
        )
    return found


def _nothing_to_load(folder: Path, stem: str) -> ModelError:
    """Why a folder has no weights under the name by which a library would look for them."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    variants = re.compile(rf"{stem}(?:{SUFFIX}\.index)?\.([A-Za-z0-9_]+)(?:-\d+-of-\d+)?(?:{SUFFIX}|\.json)")
    found = [match for name in names if (match := variants.fullmatch(name))]
    if found:
        variant = found[0][1]
        return _refusal(
            folder,
            f"it has no .safetensors file but those of the variant {variant} ({found[0][0]})",
            f"Save it without a variant: DiffusionPipeline.from_pretrained({str(folder.parent)!r}, variant={variant!r},"
            " dtype=torch.float16).save_pretrained(NEW_FOLDER).".replace("torch.float16", _dtype_of(variant)),
        )
    if others := [name for name in names if name.endswith(SUFFIX)]:
        missing = f"{stem}{SUFFIX}.index.json" if re.search(r"-\d+-of-\d+\.", others[0]) else f"{stem}{SUFFIX}"
        return _refusal(
            folder,
            f"it has no .safetensors file of the name that is looked for: {missing} is missing, and"
            f" {first_names(others)} there",
            "Copy the checkpoint again, in diffusers' layout.",
        )
    if pickled := [name for name in names if name.endswith(_PICKLED)]:
        return _refusal(
            folder,
            f"it has no .safetensors file. {pickled[0]} may be a pickle, which can run code",
            "Only safetensors weights are loaded; save the model again with save_pretrained(...,"
            " safe_serialization=True).",
        )
    return _refusal(folder, "it has no .safetensors file", "Copy the checkpoint again.")


def _dtype_of(variant: str) -> str:
    return {"fp16": "torch.float16", "bf16": "torch.bfloat16"}.get(variant, "torch.float32")


def _refusal(folder: Path, what: str, todo: str) -> ModelError:
    return ModelError(f"the checkpoint {folder.parent} could not be loaded: its {folder.name}: {what}. {todo}")
