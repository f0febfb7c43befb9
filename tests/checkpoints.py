"""Small real checkpoints, in the layout that diffusers saves and loads."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer, UMT5Config, UMT5EncoderModel

from motiontrace.attribution.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path


def tiny_wan(directory: Path, seed: int = 0, blocks: int = 2) -> Path:
    """A Wan checkpoint of 0.1 million random parameters for 5 frames of 32x32, as motiontrace.json says.

    diffusers' and transformers' real classes, written by the real `save_pretrained`.
    """
    torch.manual_seed(seed)
    tokenizer = letters(24)
    text = UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    vae = AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[2, 2],
        num_res_blocks=1,
        temperal_downsample=[True],
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        scale_factor_temporal=2,
        scale_factor_spatial=4,
        latents_mean=[0.3, -0.2, 0.1, 0.0],
        latents_std=[0.5, 2.0, 1.5, 0.8],
    )
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=64,
        num_layers=blocks,
        rope_max_seq_len=32,
    )
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    WanPipeline(tokenizer, UMT5EncoderModel(text), vae, scheduler, transformer).save_pretrained(directory)
    recommend(directory, height=32, width=32, frames=5)
    return directory


def tiny_cogvideox(directory: Path, seed: int = 0, **transformer: Any) -> Path:
    """A CogVideoX checkpoint of 0.1 million random parameters for 32x32 (sizes in motiontrace.json), made like 5b.

    `transformer` overrides what its transformer is built with. diffusers' and transformers' real classes, written
    by the real `save_pretrained`.
    """
    torch.manual_seed(seed)
    tokenizer = letters(24)
    text = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(4, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        sample_height=32,
        sample_width=32,
        scaling_factor=0.7,
        invert_scale_latents=True,
    )
    made = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 16,
        "text_embed_dim": 16,
        "num_layers": 2,
        "sample_width": 8,
        "sample_height": 8,
        "sample_frames": 9,
        "max_text_seq_length": 24,
        "use_rotary_positional_embeddings": True,
    } | transformer
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=3.0, timestep_spacing="trailing"
    )
    CogVideoXPipeline(
        tokenizer, T5EncoderModel(text), vae, CogVideoXTransformer3DModel(**made), scheduler
    ).save_pretrained(directory)
    recommend(directory, height=32, width=32, frames=9 if made.get("patch_size_t") is None else 13)
    return directory


def recommend(directory: Path, **sizes: int) -> None:
    """Writes motiontrace.json: sizes, and the paper's recipe, which takes one pass a clip; the default takes eight."""
    (directory / "motiontrace.json").write_text(json.dumps({**PRESETS["paper"], **sizes}) + "\n")


def edited(checkpoint: Path, folder: Path, file: str, **values: object) -> Path:
    """A copy of a checkpoint with values of one of its JSON files changed."""
    copy = folder / "edited"
    shutil.copytree(checkpoint, copy)
    (copy / file).write_text(json.dumps({**json.loads((copy / file).read_text()), **values}))
    return copy


def letters(length: int) -> T5Tokenizer:
    """A T5 tokenizer that spells every word."""
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -5.0) for c in ["▁", *map(chr, range(33, 127))])]
    return T5Tokenizer(vocab=letters, extra_ids=0, model_max_length=length)
