"""The model families that there are: a new one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motiontrace.attribution.families.base import Family

_CLASSES = (
    "motiontrace.attribution.families.wan:Wan",
    "motiontrace.attribution.families.cogvideox:CogVideoX",
)


def _instance(path: str) -> Family:
    module, name = path.split(":")
    family: Family = getattr(import_module(module), name)()
    return family


FAMILIES: dict[str, Family] = {family.name: family for family in map(_instance, _CLASSES)}
"""The families by name."""


def family_of(pipeline: object) -> Family | None:
    """The family whose checkpoints name `pipeline`, diffusers' class, in model_index.json; None where there is none."""
    return next((family for family in FAMILIES.values() if family.pipeline == pipeline), None)
