"""Named recipes: what of a recipe is a choice of method, and not of a model, its clips or this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from motiontrace.attribution.recipe import Recipe
from motiontrace.fields import settings_of


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base` with those of `over` in their place, nested ones one by one."""
    nested = {
        key: merged(mine, value)
        for key, value in over.items()
        if isinstance(value, Mapping) and isinstance(mine := base.get(key), Mapping)
    }
    return {**base, **over, **nested}


def _defaults() -> dict[str, Any]:
    """The choices of method as the recipe's fields have them by default, nested as in a recipe."""
    found: dict[str, Any] = {}
    for setting in settings_of(Recipe):
        if setting.choice:
            *groups, name = setting.path
            place = found
            for group in groups:
                place = place.setdefault(group, {})
            place[name] = setting.default
    return found


# What predicts best what training on a clip does to a motion (docs/results/evaluation.md). A clip is trained on by its
# ordinary loss, under any noise, at all timesteps and mostly by Adam: so is its gradient. Only the query is masked.
_BEST: Mapping[str, Any] = {
    "timesteps": (150, 300, 450, 600, 700, 800, 870, 950),
    "noise": "own",
    "gradient_normalisation": "tensors",
    "motion": {"weight": "query"},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": _defaults(),  # Motion Attribution for Video Generation, arXiv 2601.08828
    "default": merged(_defaults(), _BEST),
}
"""Recipes by name, as settings of `motiontrace.attribution.recipe.Recipe`, each with the same keys."""

DEFAULT_PRESET = "default"
"""What a new index is made by where nothing else is said."""

NEW: Mapping[str, Any] = {"motion": {"repeats": "spread"}}
"""What a new index is made by under any name. Indexes that were made without it stay as they are."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """See that each setting has a value that a recipe can have; whether they go together only a checkpoint tells.

    Raises:
        ValidationError: names the field, and what it can be.
    """
    try:
        Recipe.model_validate(merged(PRESETS[DEFAULT_PRESET], {**settings, "family": "any", "checkpoint": "0" * 64}))
    except ValidationError as error:
        if any(each["type"] != "value_error" for each in error.errors()):
            raise
