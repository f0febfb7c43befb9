"""Low-rank adaptation of a denoiser (LoRA, arXiv:2106.09685), by peft as diffusers' pipelines load it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from diffusers.training_utils import cast_training_params

from motiontrace.catalog.installing import how_to_install
from motiontrace.curation.finetuning.errors import FinetuningError

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import ModelMixin

    from motiontrace.attribution.families.base import Family
    from motiontrace.curation.finetuning.settings import LoraSettings

_NAME = "default"


def require_peft() -> None:
    """Raises FinetuningError where peft is not installed."""
    if find_spec("peft") is None:
        raise FinetuningError(
            f"LoRA needs the package peft: {how_to_install('peft')}. Or train the whole denoiser: --training-type full."
        )


def add_lora(denoiser: ModelMixin, settings: LoraSettings, seed: int) -> None:
    """Freezes the denoiser and gives its targets updates in float32 that begin at zero; the same for the same seed.

    Raises FinetuningError where no layer has such a name.
    """
    require_peft()
    from peft import LoraConfig

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.lora_alpha,
        target_modules=list(settings.target_modules),
        init_lora_weights=True,
    )
    denoiser.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # peft draws on the CPU, whatever the device
        try:
            denoiser.add_adapter(config, adapter_name=_NAME)
        except ValueError as error:
            raise FinetuningError(f"LoRA cannot be added to the denoiser: {error}") from error
    cast_training_params(denoiser, dtype=torch.float32)


def save_lora(denoiser: ModelMixin, family: Family, folder: Path) -> None:
    """Writes `pytorch_lora_weights.safetensors`, which `pipeline.load_lora_weights(folder)` loads."""
    from peft import get_peft_model_state_dict

    family.pipeline_class().save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(denoiser, adapter_name=_NAME),
        # Without it a pipeline takes the rank for lora_alpha.
        transformer_lora_adapter_metadata=denoiser.peft_config[_NAME].to_dict(),
    )
