"""What is wrong with weights that do not fit their part, in words: how many, which, in which file, why, what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families.weights import MERGE, first_names, is_adapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from motiontrace.attribution.families.checkpoint import Checkpoint

TIED = ("shared.weight", "encoder.embed_tokens.weight")
"""Names of a text encoder's one embedding. A file may have either, or both with the same values."""
# What a whole T5 has besides its encoder; transformers' T5EncoderModel leaves most of it out by itself.
_NOT_NEEDED = {"text_encoder": re.compile(r"decoder\.|lm_head\.weight$")}
_QUANTISED = re.compile(
    r"scaled_fp8|comfy_quant|(weight|input|output)_(scale|offset)|scale_(weight|input|output)|(^|\.)(SCB|absmax|q?zeros|"
    r"scales|g_idx|qweight|quant_map)$|quant_state|weight_packed"
)


@dataclass(frozen=True)
class Found:
    """What a library or a look at the values found wrong; names of tensors.

    Attributes:
        missing: the part has them, the files do not.
        unexpected: the files have them, the part does not.
        mismatched: both have them, in other shapes.
        not_finite: they hold NaN or infinity.
        two_values: names of one tensor with different values.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)
    two_values: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, reported: Mapping[str, Iterable[Any]], unused: Iterable[str], part: str) -> Found | None:
        """What a library's `output_loading_info` says; None where all is well.

        `unused` are the tensors of the files that the part has not: the libraries keep quiet about some of them.
        """
        spare, left = _NOT_NEEDED.get(part), {*reported["unexpected_keys"], *unused}
        unexpected = [name for name in left if spare is None or not spare.match(name)]
        shapes = {
            name: f"{_shape(there)} instead of {_shape(wanted)}" for name, there, wanted in reported["mismatched_keys"]
        }
        found = cls(sorted(set(reported["missing_keys"]) - shapes.keys()), sorted(unexpected), shapes)
        return found if found.missing or found.unexpected or found.mismatched else None


def refusal(checkpoint: Checkpoint, part: str, found: Found) -> ModelError:
    """The error that says what was found, what it probably is, and what to do."""
    weights = checkpoint.weights[part]
    said = []
    where = weights.files[0].name if len(weights.files) == 1 else f"the {len(weights.files)} files of {weights.index}"
    if found.missing:
        said.append(f"{_count(found.missing)} missing in {where}: {first_names(found.missing)}")
    if found.unexpected:
        files = sorted({weights.tensors[name].file.name for name in found.unexpected if name in weights.tensors})
        inside = files[0] if len(files) == 1 else where
        said.append(f"{_count(found.unexpected)} left over in {inside}: {first_names(found.unexpected)}")
    if found.mismatched:
        names = sorted(found.mismatched)
        said.append(f"{_count(names)} of another shape: {first_names(names)} ({found.mismatched[names[0]]})")
    if found.not_finite:
        said.append(f"{_count(found.not_finite)} not finite (NaN or infinity): {first_names(found.not_finite)}")
    if found.two_values:
        said.append(f"{' and '.join(found.two_values)} are two names of one tensor, and have different values")
    return ModelError(
        f"the checkpoint {checkpoint.folder} could not be loaded: the weights of its {part} do not fit."
        f" {'; '.join(said)}. {_advice(found, checkpoint)}"
    )


def _count(names: list[str]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names):,} tensors are"


def _advice(found: Found, checkpoint: Checkpoint) -> str:
    """What the tensors probably are, and what to do."""
    family = checkpoint.kind
    if found.not_finite:
        return "The file was written wrongly, or its numbers are too large for the number format. Copy it again."
    if found.two_values:
        return "Copy the checkpoint again, or save it again with save_pretrained() from where it works."
    if is_adapter(found.unexpected):
        return f"This looks like a LoRA that was saved beside the weights, not merged into them. {MERGE}"
    if any(_QUANTISED.search(name) for name in found.unexpected):
        return (
            "These look like quantised weights with their scales (fp8 and the like). Give the checkpoint in bfloat16,"
            " float16 or float32."
        )
    if prefix := _prefix(found):
        return (
            f"The names differ by {prefix!r} at their beginning, as when a part was cut out of a larger model's file."
            " Rename the tensors, or give the checkpoint as it was published."
        )
    if any(f".{makers}" in f".{name}" for name in found.unexpected for makers in family.makers_names):
        return f"The names are those of the makers' own code. Give the model in diffusers' layout, {family.example}."
    if found.mismatched and not found.missing and not found.unexpected:
        return "config.json and weights are of models of different sizes. Copy both from one checkpoint."
    if found.missing and not found.unexpected:
        return "The files are not whole. Copy the checkpoint again."
    if found.unexpected and not found.missing:
        return (
            "config.json has no such tensors: it is of a smaller model, or of another. Copy both from one checkpoint."
        )
    return f"The weights are of another architecture than a {family.pipeline}'s. Copy config.json and weights together."


def _prefix(found: Found) -> str | None:
    """What most names of what is left over begin with, and the missing ones do not, or the other way round."""
    for long, short in ((found.unexpected, set(found.missing)), (found.missing, set(found.unexpected))):
        for name in long[:100]:
            parts = name.split(".")
            for cut in range(1, min(len(parts), 5)):
                prefix, rest = ".".join(parts[:cut]) + ".", ".".join(parts[cut:])
                if rest in short and sum(each.removeprefix(prefix) in short for each in long) * 2 > len(short):
                    return prefix
    return None


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
