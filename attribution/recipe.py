"""The recipe: everything that makes two motion gradients comparable, as one value with a digest.

An index is built by one recipe and queried with the same one. Two gradients made by recipes that differ in any
field must not be compared; `Recipe.differences` says which field that is.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from motiontrace.attribution.motion import MotionSettings
from motiontrace.attribution.presets import DEFAULT_PRESET, PRESETS, merged

if TYPE_CHECKING:
    from collections.abc import Mapping

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_ADDED = (
    "noise",
    "caption",
    "error",
    "contrast",
    "latent_normalisation",
    "channel_scales",
    "gradient_normalisation",
    "gradient_scales",
)
_SHOWN = 20
_ADDED_TO_MOTION = ("weight", "camera", "confidence", "repeats")


class ProjectionSettings(BaseModel):
    """The Johnson-Lindenstrauss projection R^D -> R^dim (METHOD, step 6)."""

    model_config = _FROZEN

    kind: Literal["count_sketch", "fastfood"] = Field(
        default="count_sketch",
        description="how gradients are sketched. count_sketch: one signed bucket an entry; fastfood: S H G Pi H B, the"
        " paper's",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of everything random in the projection")
    factors: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="directions kept of a layer's inputs, and of its output gradients, where gradients are factorised",
    )
    width: int = Field(default=16_384, ge=1, le=1_048_576, description="length of the sketch; a multiple of dim")
    dim: int = Field(default=512, ge=1, le=65_536, description="length of a motion gradient")
    basis: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the learned directions that take a sketch to dim; None: it is folded at random",
    )

    @model_validator(mode="after")
    def _width_folds_to_dim(self) -> ProjectionSettings:
        if self.width % self.dim:
            raise ValueError(f"width must be a multiple of dim: {self.width} is none of {self.dim}")
        return self


class Recipe(BaseModel):
    """What a motion gradient was made with. Frozen; equal recipes have equal digests."""

    model_config = _FROZEN

    version: Literal[2] = Field(default=2, description="version of the computation itself; raised when it changes")
    family: str = Field(description="model family, for instance wan")
    checkpoint: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 over the checkpoint's weights and configuration"
    )
    height: int = Field(default=480, ge=8, le=4096, description="height of the frames that the model sees, pixels")
    width: int = Field(default=832, ge=8, le=4096, description="width of the frames that the model sees, pixels")
    frames: int = Field(default=81, ge=1, le=1024, description="number of frames that the model sees")
    fps: float | None = Field(
        default=None, gt=0, le=240, description="frames sampled a second; None spreads them over the whole clip"
    )
    timesteps: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = Field(
        default=(751,), min_length=1, description="training timesteps, of 1000, to average over (the paper's one: 751)"
    )
    noise_draws: int = Field(default=1, ge=1, le=64, description="noise tensors to average over at every timestep")
    noise: Literal["shared", "own"] = Field(
        default="shared",
        description="shared: every clip meets the same noise, at every timestep; own: each meets noise that is drawn"
        " from what it shows, and other noise at every timestep, so that two clips never have the noise in common",
    )
    noise_seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the noise")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="number format of the denoiser")
    parameters: tuple[str, ...] = Field(
        default=("*",), description="shell patterns of the denoiser's parameters that are attributed"
    )
    attributed_parameters: int = Field(default=0, ge=0, description="how many parameters match; counted, not set")
    denoiser_parameters: int = Field(default=0, ge=0, description="how many there are in all; counted, not set")
    gradients: Literal["factorised", "exact"] = Field(
        default="factorised",
        description="factorised: the gradients of linear layers by their two projected factors; exact: as autograd",
    )
    caption: Literal["own", "none"] = Field(
        default="own", description="what the model is told: the clip's own caption, or the empty prompt"
    )
    error: Literal["plain", "frame_difference"] = Field(
        default="plain",
        description="plain: the loss is of the model's error; frame_difference: of its change from one latent frame to"
        " the next, so that an error that stays, as one of looks does, does not count",
    )
    contrast: Literal["none", "time_reversed"] = Field(
        default="none",
        description="time_reversed: the gradient less that of the clip played backwards, in which what both have in"
        " common, its looks, cancels",
    )
    latent_normalisation: Literal["none", "channels"] = Field(
        default="none",
        description="channels: the squared error of each latent channel is divided by a scale of its own, so that"
        " loud channels do not drown the others",
    )
    channel_scales: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = Field(
        default=None, description="the scales of the latent channels; measured when the index is made, not set"
    )
    gradient_normalisation: Literal["none", "tensors"] = Field(
        default="none",
        description="tensors: the gradient of each parameter tensor is divided by a scale of its own, so that an inner"
        " product is that of steps of an optimizer that evens out gradients' sizes, as Adam does",
    )
    gradient_scales: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = Field(
        default=None,
        description="the scales of the attributed parameters, by name; measured when the index is made, not set",
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

        Fields that the first recipes of this version did not have are left out where they have their default, under
        which a gradient is what it was before: older recipes keep their digests, and their indexes work.
        """
        values = self.model_dump(mode="json")
        for fields, found, added in (
            (Recipe.model_fields, values, _ADDED),
            (MotionSettings.model_fields, values["motion"], _ADDED_TO_MOTION),
        ):
            for name in added:
                if found[name] == fields[name].default:
                    del found[name]
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
        """The same recipe with the measured `scales` of the latent channels; ValidationError where it has no use."""
        return Recipe.model_validate({**self.model_dump(), "channel_scales": scales})

    def with_gradient_scales(self, scales: tuple[float, ...]) -> Recipe:
        """The same recipe with the measured `scales` of the attributed parameters; ValidationError as above."""
        return Recipe.model_validate({**self.model_dump(), "gradient_scales": scales})

    def unmeasured(self) -> Recipe:
        """The same recipe before anything was measured on the clips of an index: the same for all such indexes."""
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


def _short(value: Any) -> str:
    """A value as it is told to people: hundreds of scales by the first ones and their number."""
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


def check_settings(settings: Mapping[str, Any]) -> None:
    """See that each setting has a value that a recipe can have; whether they go together only a checkpoint tells.

    Raises:
        ValidationError: names the field, and what it can be.
    """
    try:
        Recipe.model_validate(merged(PRESETS[DEFAULT_PRESET], {**settings, "family": "wan", "checkpoint": "0" * 64}))
    except ValidationError as error:
        if any(each["type"] != "value_error" for each in error.errors()):
            raise
