"""Named recipes: what of a recipe is a choice of method, and not of a model, its clips or this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PAPER: Mapping[str, Any] = {
    "timesteps": (751,),
    "noise": "shared",
    "noise_draws": 1,
    "parameters": ("*",),
    "caption": "own",
    "error": "plain",
    "contrast": "none",
    "latent_normalisation": "none",
    "gradient_normalisation": "none",
    "motion": {"weight": "flow", "camera": "keep", "confidence": "none"},
}

# The recipe that best predicts what training on a clip does to a motion (docs/results/evaluation.md). Training uses a
# clip's ordinary loss, any noise, all timesteps and mostly Adam, and so does this gradient. Only queries are masked.
_DEFAULT: Mapping[str, Any] = {
    **_PAPER,
    "timesteps": (150, 300, 450, 600, 700, 800, 870, 950),
    "noise": "own",
    "gradient_normalisation": "tensors",
    "motion": {**_PAPER["motion"], "weight": "query"},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": _PAPER,  # Motion Attribution for Video Generation, arXiv 2601.08828
    "default": _DEFAULT,
}
"""Recipes by name, as settings of `motiontrace.attribution.recipe.Recipe`, each with the same keys."""

DEFAULT_PRESET = "default"
"""What a new index is made by where nothing else is said."""

NEW: Mapping[str, Any] = {"motion": {"repeats": "spread"}}
"""What a new index is made by under any name. Indexes that were made without it stay as they are."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base` with those of `over` in their place, nested ones one by one."""
    nested = {
        key: merged(mine, value)
        for key, value in over.items()
        if isinstance(value, Mapping) and isinstance(mine := base.get(key), Mapping)
    }
    return {**base, **over, **nested}
