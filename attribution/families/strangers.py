"""What people give instead of a checkpoint, recognised before anything large is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.documents import kind_of, read_json
from motiontrace.attribution.families.registry import FAMILIES
from motiontrace.attribution.families.weights import ADAPTERS, MERGE, SUFFIX, adapter_in, is_adapter
from motiontrace.files import FileError, check_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

INDEX = "model_index.json"
# Pipelines of a family's architecture that are trained in another way, and how.
_FORCED = {"SkyReelsV2": "It is a Wan by its architecture, but trained with noise levels of its own"}


def _examples() -> str:
    return " or ".join(family.example for family in FAMILIES.values())


def _supported() -> str:
    return " and ".join(sorted(family.pipeline for family in FAMILIES.values()))


def _give() -> str:
    return (
        f"Give a diffusers folder, the one that holds transformer/, vae/ and text_encoder/, or a hub id, {_examples()}."
    )


def _convert() -> str:
    return (
        f"Give the same model in diffusers' layout; on the hub its name often ends in -Diffusers ({_examples()}). Or"
        " convert it with diffusers' scripts/"
        f"{' or '.join(family.converter for family in FAMILIES.values())}."
    )


def not_a_folder(file: Path) -> ModelError:
    """The error for a file that is given as a checkpoint."""
    try:
        check_file(file)
    except FileError as error:
        return ModelError(f"{error}. {_give()}")
    if file.name == INDEX:
        return ModelError(f"{file} is a file of a checkpoint; give its folder, {file.parent}.")
    if file.suffix != SUFFIX:
        return ModelError(f"{file} is a single file, and only folders of {SUFFIX} files are loaded. {_convert()}")
    try:
        with safe_open(file, "numpy") as tensors:
            names = list(tensors.keys())
            quantised = any(str(tensors.get_slice(name).get_dtype()).startswith("F8") for name in names)
    except (SafetensorError, OSError) as error:
        return ModelError(f"{file} is damaged or cut off ({error}), and a single file. {_give()}")
    if is_adapter(names):
        return ModelError(f"{file} is a LoRA, which is no model by itself. {_LORA}")
    about = ", of quantised (fp8) weights" if quantised else ""
    makers = tuple(name for family in FAMILIES.values() for name in family.makers_names)
    if any(name.removeprefix("model.diffusion_model.").startswith(makers) for name in names):
        about = f", with names as its makers' own code and ComfyUI have them{about}"
    return ModelError(
        f"{file} is a single file{about}; a checkpoint is a folder with the text encoder and the autoencoder, too."
        f" {_convert()}"
    )


_LORA = (
    f"Load it on top of its base model: pipeline = DiffusionPipeline.from_pretrained(BASE). {MERGE} Give that folder."
    " `motiontrace compare` takes the folder of a LoRA, if its file is called pytorch_lora_weights.safetensors."
)


def names_in(folder: Path) -> list[str]:
    """What lies in a folder, and the indexes one level below, relative to it."""
    names = sorted(path.name for path in folder.iterdir())
    return names + [f"{name}/{INDEX}" for name in names if (folder / name / INDEX).is_file()]


def not_a_pipeline(place: object, folder: Path, names: Collection[str]) -> ModelError:
    """The error for `place`, a folder or a hub id without model_index.json.

    `folder` has its small files, if any, and `names` are those of all its files, relative to it.
    """
    said = f"{place} has no {INDEX}, so it is not a diffusers pipeline folder"
    if found := next((name for name in ADAPTERS if name in names), None) or adapter_in(folder):
        return ModelError(f"{said}: it holds a LoRA ({found}), which is no model by itself. {_LORA}")
    if "modular_model_index.json" in names:
        return ModelError(f"{said}, but a modular one, which is code and addresses. {_convert()}")
    config = _config(folder) if "config.json" in names else {}
    architectures = config.get("architectures")
    made_by = [config.get("_class_name"), *(architectures if isinstance(architectures, list) else [])]
    parts = {part.class_name for family in FAMILIES.values() for part in family.parts.values()}
    if parts & {name for name in made_by if isinstance(name, str)}:
        return ModelError(f"{said}: it is one part of a checkpoint. {_give()}")
    if inside := sorted(name.removesuffix(f"/{INDEX}") for name in names if name.endswith(f"/{INDEX}")):
        return ModelError(f"{said}. Give the folder {inside[0]} in it, which is one.")
    weights = sorted(name for name in names if name.endswith((SUFFIX, ".pth", ".ckpt", ".gguf", ".pt", ".bin")))
    if weights:
        return ModelError(f"{said}: it holds weights in another layout ({weights[0]}). {_convert()}")
    return ModelError(
        f"{said}. Give the folder that pipeline.save_pretrained() wrote, the one that holds transformer/,"
        " vae/ and text_encoder/."
    )


def another_pipeline(index_file: Path, index: Mapping[str, Any]) -> ModelError:
    """The error for a checkpoint whose model_index.json names the pipeline of no family."""
    supported = _supported()
    if "_class_name" not in index:
        return ModelError(f"{index_file} has no _class_name, which names the pipeline; supported: {supported}.")
    name = index["_class_name"]
    if not isinstance(name, str):
        return ModelError(
            f"_class_name in {index_file} must be the name of a pipeline, and is {kind_of(name)}; supported:"
            f" {supported}."
        )
    said = f"{index_file} names the pipeline {name!r}"
    for family in FAMILIES.values():
        if name in family.same_weights:
            return ModelError(
                f"{said}, which turns videos into videos with the weights of text-to-video. Where they are those, name"
                f" {family.pipeline!r} there instead: the parts are the same."
            )
        if does := family.relatives.get(name):
            return ModelError(
                f"{said}, which {does}: its transformer was trained for more than a prompt. Only text-to-video is"
                f" supported ({supported}); give the text-to-video checkpoint of that model."
            )
    if forced := next((how for prefix, how in _FORCED.items() if name.startswith(prefix)), None):
        return ModelError(f"{said}. {forced}, which are not supported. Supported: {supported}.")
    if name.startswith(tuple(family.prefix for family in FAMILIES.values())):
        return ModelError(
            f"{said}, a relative of the supported ones that this version does not know. Supported: {supported}; give"
            " the text-to-video checkpoint of that model."
        )
    return ModelError(f"{said}; supported: {supported}.")


def _config(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "config.json")
    except ModelError:
        return {}
