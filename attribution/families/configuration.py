"""Checks of the JSON files of a checkpoint, before a library follows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.documents import kind_of, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.attribution.families.base import Family

SWITCHES = ("boundary_ratio", "expand_timesteps")
"""Keys of model_index.json that change what a denoiser does. Every checkpoint's digest is over them."""
_LIBRARIES = ("diffusers", "transformers", None)  # that the parts of a checkpoint may be classes of
# Keys by which a library would run code of the checkpoint or of the hub, read other files or change the weights.
_STEERING = (
    "auto_map",
    "quantization_config",
    "transformers_weights",
    "fusion_config",
    "kernel_config",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "tokenizer_file",
    "vocab_file",
    "fast_tokenizer_files",
)
_VOCABULARIES = ("tokenizer.json", "spiece.model")


def check_index(file: Path, index: dict[str, Any], kind: Family) -> None:
    """Raises ModelError where model_index.json names code of others, parts of another kind, or switches wrongly."""
    for name, value in index.items():
        if name in SWITCHES:
            continue
        if isinstance(value, list):
            if len(value) != 2 or not all(each is None or isinstance(each, str) for each in value):
                raise ModelError(f"{file} must name a library and a class for {name}, and has {value!r} there.")
            if value[0] not in _LIBRARIES:
                raise ModelError(
                    f"{file} takes its {name} from {value[0]!r}; only parts of diffusers and transformers are loaded"
                )
            part = kind.parts.get(name)
            if part is not None and value[1] not in (None, part.class_name):
                raise ModelError(
                    f"{file}: the {name} is a {value[1]}, and that of a {kind.pipeline} is a"
                    f" {part.class_name}; others are not supported."
                )
        elif name in (*kind.parts, *kind.tokenizers, "scheduler") and value is not None:
            raise ModelError(f"{file} must name a library and a class for {name}, and has {kind_of(value)} there.")
    boundary, a_token = (index.get(key) or None for key in SWITCHES)
    if boundary is not None and not (type(boundary) in (int, float) and 0 <= boundary <= 1):
        raise ModelError(f"boundary_ratio in {file} must be a number from 0 to 1 or null, and is {boundary!r}.")
    if a_token is not None and a_token is not True:
        raise ModelError(f"expand_timesteps in {file} must be true, false or null, and is {a_token!r}.")


def check_part(folder: Path, kind: Family) -> None:
    """Raises ModelError where a part's config.json is of another kind, or would have a library do more than load it."""
    file, part = folder / "config.json", folder.name
    config = read_json(file)
    key, allowed = kind.parts[part].kind
    found = config.get(key)
    if found is not None and found != allowed:
        what = repr(found) if isinstance(found, str) else kind_of(found)
        raise ModelError(
            f"{key} in {file} is {what}; the {part} of a {kind.pipeline} has {allowed!r}. Is it of this model?"
        )
    _refuse_steering(file, config)


def check_latent_channels(folder: Path, kind: Family) -> None:
    """Raises ModelError where a transformer of the checkpoint takes more than a noisy latent and a prompt."""
    vae = folder / "vae" / "config.json"
    for denoiser in kind.denoisers:
        file = folder / denoiser / "config.json"
        if not (file.is_file() and vae.is_file()):
            continue
        config, given = read_json(file), read_json(vae).get(*kind.given_channels)
        taken = config.get(*kind.taken_channels)
        more = [f"{key} is {config[key]}" for key in kind.conditions if config.get(key)]
        if taken != given or more:
            raise ModelError(
                f"{folder}/{denoiser} is not of a text-to-video checkpoint: it takes {taken} channels where the"
                f" autoencoder gives {given}{''.join(f', {each}' for each in more)}. Image-to-video and control"
                " checkpoints are not supported; give the text-to-video one."
            )


def check_prompt_width(folder: Path, kind: Family) -> None:
    """Raises ModelError where the text encoder is larger or smaller than the one that a transformer was made for."""
    text = folder / "text_encoder" / "config.json"
    for denoiser in kind.denoisers:
        file = folder / denoiser / "config.json"
        if not (file.is_file() and text.is_file()):
            continue
        taken = read_json(file).get(*kind.taken_width)
        given = read_json(text).get(*kind.given_width)
        if taken != given:
            raise ModelError(
                f"{folder}: its text_encoder gives {given} numbers a token, and its {denoiser} takes {taken}. They are"
                " of two models; copy both from one checkpoint."
            )


def check_tokenizer(folder: Path) -> None:
    """Raises ModelError where a tokenizer has no vocabulary, or its configuration would have code run.

    Without one the library makes a tokenizer that knows no word, and every prompt is the same to the model.
    """
    if folder.is_dir() and not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelError(
            f"{folder} has no vocabulary: neither {' nor '.join(_VOCABULARIES)} is there. Copy the checkpoint again."
        )
    for file in (folder / "tokenizer_config.json", folder / "config.json"):
        if file.is_file():
            _refuse_steering(file, read_json(file))


def _refuse_steering(file: Path, config: dict[str, Any]) -> None:
    if steering := [key for key in _STEERING if config.get(key)]:
        raise ModelError(
            f"{file} has {steering[0]}, by which a library would run other code, read other files or change weights."
            " Only plain weights are loaded: take it out, or give the checkpoint that it was made from."
        )
