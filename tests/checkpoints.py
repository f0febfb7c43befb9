"""Small real checkpoints, in the layout that diffusers saves and loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

if TYPE_CHECKING:
    from pathlib import Path


def tiny_wan(directory: Path, seed: int = 0) -> Path:
    """A Wan checkpoint of 0.1 million random parameters for 5 frames of 32x32 (recommended in motiontrace.json).

    diffusers' and transformers' real classes, written by the real ``save_pretrained``.
    """
    torch.manual_seed(seed)
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -5.0) for c in ["▁", *map(chr, range(33, 127))])]
    tokenizer = T5Tokenizer(vocab=letters, extra_ids=0, model_max_length=24)
    text = UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    vae = AutoencoderKLWan(
        base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[2, 2], num_res_blocks=1, temperal_downsample=[True],
        is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_temporal=2,
        scale_factor_spatial=4, latents_mean=[0.3, -0.2, 0.1, 0.0], latents_std=[0.5, 2.0, 1.5, 0.8],
    )  # fmt: skip
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=16,
        freq_dim=16, ffn_dim=64, num_layers=2, rope_max_seq_len=32,
    )  # fmt: skip
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    WanPipeline(tokenizer, UMT5EncoderModel(text), vae, scheduler, transformer).save_pretrained(directory)
    (directory / "motiontrace.json").write_text('{"height": 32, "width": 32, "frames": 5}\n')
    return directory
