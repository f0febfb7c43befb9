"""Named recipes: the settings that are choices of method, and do not depend on model, clips or machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from motiontrace.attribution.recipe import Recipe
from motiontrace.fields import settings_of


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base`, overridden by those of `over`; nested settings one by one."""
    nested = {
        key: merged(mine, value)
        for key, value in over.items()
        if isinstance(value, Mapping) and isinstance(mine := base.get(key), Mapping)
    }
    return {**base, **over, **nested}


def _defaults() -> dict[str, Any]:
    """The defaults of the recipe's choices of method, nested as in a recipe."""
    found: dict[str, Any] = {}
    for setting in settings_of(Recipe):
        if setting.choice:
            *groups, name = setting.path
            place = found
            for group in groups:
                place = place.setdefault(group, {})
            place[name] = setting.default
    return found


# The settings that best predict how training on a clip changes a motion (docs/results/evaluation.md). Training uses a
# clip's ordinary loss, under any noise, at all timesteps, and mostly Adam. A clip's gradient is made the same way. Only
# the query is masked.
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
"""The preset of a new index, unless another is named."""

NEW: Mapping[str, Any] = {"motion": {"repeats": "spread"}}
"""Settings of every new index, whatever its preset. Indexes that were made without them stay as they are."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check each setting's value by itself. Whether the settings go together depends on the checkpoint.

    Raises:
        ValidationError: names the field and the values that it takes.
    """
    try:
        Recipe.model_validate(merged(PRESETS[DEFAULT_PRESET], {**settings, "family": "any", "checkpoint": "0" * 64}))
    except ValidationError as error:
        if any(each["type"] != "value_error" for each in error.errors()):
            raise
