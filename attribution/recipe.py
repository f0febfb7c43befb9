"""The recipe: everything that makes two motion gradients comparable, as one value with a digest.

An index is built by one recipe and queried with the same one. Two gradients made by recipes that differ in any
field must not be compared; `Recipe.differences` says which field that is.

Each field is a setting, written here and nowhere else: name, type, text and default. docs/extending.md says how to add
one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motiontrace.fields import Flag, Mark

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_SHOWN = 20

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SHA256 = r"^[0-9a-f]{64}$"


class MotionSettings(BaseModel):
    """How motion is estimated, and what it weighs."""

    model_config = _FROZEN

    estimator: Annotated[Literal["dis"], Mark.FIXED] = Field(
        default="dis", description="OpenCV's dense inverse search, with what attribution/motion.py believes of it."
    )
    preset: Annotated[Literal["ultrafast", "fast", "medium"], Mark.FIXED] = Field(
        default="medium", description="DIS's own trade of speed against detail."
    )
    short_side: Annotated[int, Mark.FIXED] = Field(
        default=128,
        ge=32,
        le=1024,
        description="Pixels; smaller frames are estimated at an integer multiple that reaches this.",
    )
    floor: float = Field(
        default=0.25,
        gt=0.0,
        description="Pixels a sampled frame, at the estimated size; what moves less does not move.",
    )
    weight: Annotated[Literal["flow", "none", "query"], Mark.CHOICE, Mark.LATER] = Field(
        default="flow",
        description="flow: positions count by how much they move; none: all alike; query: flow in queries, "
        "none in clips.",
    )
    camera: Annotated[Literal["keep", "compensate"], Mark.CHOICE, Mark.LATER] = Field(
        default="keep", description="keep, or compensate: the camera's own motion, where found, does not count."
    )
    confidence: Annotated[Literal["none", "forward_backward"], Mark.CHOICE, Mark.LATER] = Field(
        default="none",
        description="none, or forward_backward: motion weighs less where flow there and back disagree.",
    )
    repeats: Annotated[Literal["still", "spread"], Mark.FIXED, Mark.LATER] = Field(
        default="still",
        description="Between two samples of one picture nothing moves (still, as in indexes made before there was a"
        " choice), or both have the motion of their picture (spread).",
    )


class ProjectionSettings(BaseModel):
    """The Johnson-Lindenstrauss projection R^D -> R^dim (docs/method.md#step-6-projection)."""

    model_config = _FROZEN

    kind: Annotated[Literal["count_sketch", "fastfood"], Flag(name="projection")] = Field(
        default="count_sketch",
        description="Sketch of gradients: count_sketch, one signed bucket an entry, or fastfood, the paper's.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of the projection.")
    factors: Annotated[int, Mark.FIXED] = Field(
        default=64,
        ge=1,
        le=65_536,
        description="Directions kept of a layer's inputs, and of its output gradients, where gradients are factorised.",
    )
    width: int = Field(
        default=16_384,
        ge=1,
        le=1_048_576,
        description="Length of a clip's sketch, a multiple of --projection-dim; if equal, there is no basis.",
    )
    dim: int = Field(default=512, ge=1, le=65_536, description="Length of a motion gradient.")
    basis: Annotated[str | None, Mark.FIXED] = Field(
        default=None,
        pattern=_SHA256,
        description="SHA-256 of the learned directions that take a sketch to dim; None: it is folded at random.",
    )

    @model_validator(mode="after")
    def _width_folds_to_dim(self) -> ProjectionSettings:
        if self.width % self.dim:
            raise ValueError(f"width must be a multiple of dim: {self.width} is none of {self.dim}")
        return self


class Recipe(BaseModel):
    """What a motion gradient was made with. Frozen; equal recipes have equal digests."""

    model_config = _FROZEN

    version: Annotated[Literal[2], Mark.FIXED] = Field(
        default=2, description="Version of the computation itself; raised when it changes."
    )
    family: Annotated[str, Mark.FIXED] = Field(description="Model family, for instance wan.")
    checkpoint: Annotated[str, Mark.FIXED] = Field(
        pattern=_SHA256, description="SHA-256 over the checkpoint's weights and configuration."
    )
    height: int = Field(default=480, ge=8, le=4096, description="Height of the model's frames, pixels.")
    width: int = Field(default=832, ge=8, le=4096, description="Width of the model's frames, pixels.")
    frames: int = Field(default=81, ge=1, le=1024, description="Number of the model's frames.")
    fps: Annotated[float | None, Flag(default="spread over the whole clip")] = Field(
        default=None, gt=0, le=240, description="Frames sampled a second."
    )
    timesteps: Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Mark.CHOICE] = Field(
        default=(751,), min_length=1, description="Training timesteps, of 1000, that a gradient averages."
    )
    noise_draws: Annotated[int, Mark.CHOICE] = Field(
        default=1, ge=1, le=64, description="Noises at every timestep that a gradient averages."
    )
    noise: Annotated[Literal["shared", "own"], Mark.CHOICE, Mark.LATER] = Field(
        default="shared",
        description="shared: the same noise for all clips and timesteps; own: drawn from what a clip shows, "
        "anew at every timestep.",
    )
    noise_seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the noise.")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Number format of the denoiser: float32 or bfloat16."
    )
    parameters: Annotated[tuple[str, ...], Mark.CHOICE] = Field(
        default=("*",), description="Shell patterns of the denoiser's parameters that are attributed."
    )
    attributed_parameters: Annotated[int, Mark.FIXED] = Field(
        default=0, ge=0, description="How many parameters match; counted, not set."
    )
    denoiser_parameters: Annotated[int, Mark.FIXED] = Field(
        default=0, ge=0, description="How many there are in all; counted, not set."
    )
    gradients: Literal["factorised", "exact"] = Field(
        default="factorised",
        description="factorised: linear layers by two projected factors; exact: by autograd, slower, one "
        "clip at a time.",
    )
    caption: Annotated[Literal["own", "none"], Mark.CHOICE, Mark.LATER] = Field(
        default="own", description="Prompt of the model: own, the clip's caption, or none."
    )
    error: Annotated[Literal["plain", "frame_difference"], Mark.CHOICE, Mark.LATER] = Field(
        default="plain",
        description="plain: the loss is of the model's error; frame_difference: of its change between "
        "latent frames; looks cancel.",
    )
    contrast: Annotated[Literal["none", "time_reversed"], Mark.CHOICE, Mark.LATER] = Field(
        default="none",
        description="none, or time_reversed: less the gradient of the clip played backwards; looks cancel, "
        "in twice the time.",
    )
    latent_normalisation: Annotated[Literal["none", "channels"], Mark.CHOICE, Mark.LATER] = Field(
        default="none",
        description="none, or channels: latent channels count alike, by scales measured on 64 clips of a new index.",
    )
    channel_scales: Annotated[tuple[_Positive, ...] | None, Mark.FIXED, Mark.LATER] = Field(
        default=None, description="The scales of the latent channels; measured when the index is made, not set."
    )
    gradient_normalisation: Annotated[Literal["none", "tensors"], Mark.CHOICE, Mark.LATER] = Field(
        default="none",
        description="none, or tensors: gradients are divided by usual sizes, as by Adam, measured on 64 "
        "clips of a new index.",
    )
    gradient_scales: Annotated[tuple[_Positive, ...] | None, Mark.FIXED, Mark.LATER] = Field(
        default=None,
        description="The scales of the attributed parameters, by name; measured when the index is made, not set.",
    )
    motion: MotionSettings = MotionSettings()
    projection: ProjectionSettings = ProjectionSettings()

    @model_validator(mode="after")
    def _scales_are_used(self) -> Recipe:
        if self.channel_scales is not None and self.latent_normalisation == "none":
            raise ValueError("channel_scales are those of latent_normalisation channels, which is none here")
        if self.gradient_scales is not None and self.gradient_normalisation == "none":
            raise ValueError("gradient_scales are those of gradient_normalisation tensors, which is none here")
        return self

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; the digest is taken over it.

        Fields that the first recipes of this version did not have (`Mark.LATER`) are left out where they have their
        default, under which a gradient is what it was before: older recipes keep their digests, and their indexes work.
        """
        values = self.model_dump(mode="json")
        _leave_out_later(Recipe, values)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Inverse of `to_json`; raises pydantic's ValidationError that names the field."""
        return cls.model_validate_json(text)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def with_basis(self, basis: str | None) -> Recipe:
        """The same recipe with another learned basis, by its digest."""
        return self.model_copy(update={"projection": self.projection.model_copy(update={"basis": basis})})

    def with_channel_scales(self, scales: tuple[float, ...]) -> Recipe:
        """The same recipe with the measured `scales` of the latent channels; ValidationError where it uses none."""
        return Recipe.model_validate({**self.model_dump(), "channel_scales": scales})

    def with_gradient_scales(self, scales: tuple[float, ...]) -> Recipe:
        """The same recipe with the measured `scales` of the attributed parameters; ValidationError as above."""
        return Recipe.model_validate({**self.model_dump(), "gradient_scales": scales})

    def unmeasured(self) -> Recipe:
        """The same recipe without what was measured on an index's clips, so that such indexes can be compared."""
        return self.with_basis(None).model_copy(update={"channel_scales": None, "gradient_scales": None})

    @property
    def dim(self) -> int:
        """Length of a gradient made by this recipe."""
        return self.projection.dim

    def differences(self, other: Recipe) -> list[str]:
        """The fields in which `other` differs, each as `"field: mine != theirs"`; empty when comparable."""
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        return [
            f"{name}: {_short(mine[name])} != {_short(theirs[name])}" for name in mine if mine[name] != theirs[name]
        ]


def _leave_out_later(model: type[BaseModel], values: dict[str, Any]) -> None:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            _leave_out_later(info.annotation, values[name])
        elif Mark.LATER in info.metadata and values[name] == info.default:
            del values[name]


def _short(value: Any) -> str:
    """A value as messages show it: of many scales, the first three and their number."""
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"[{', '.join(map(str, value[:3]))}, ... {len(value)} in all]"
    return str(value)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
