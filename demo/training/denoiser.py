"""The denoiser (`WanTransformer3DModel`) and its text encoder (`UMT5EncoderModel`), trained together."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

from motiontrace.demo.training.autoencoder import CHANNELS
from motiontrace.demo.training.schedule import report_every, warmup_cosine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXT_WIDTH = 64
TEXT_LENGTH = 32  # tokens; saved as the tokenizer's model_max_length
TIMESTEPS = 1000
SHIFT = 3.0


@dataclass(frozen=True)
class DenoiserTraining:
    """How the denoiser is trained; 34 minutes on two cores."""

    steps: int = 2800
    batch: int = 16
    learning_rate: float = 1.2e-3
    warmup: int = 100
    ema: float = 0.998
    caption_dropout: float = 0.1  # classifier-free guidance needs an empty prompt that means something
    seed: int = 0


def build_tokenizer(captions: Sequence[str]) -> T5Tokenizer:
    """A T5 tokenizer (unigram) that knows the captions' words whole and spells every other word letter by letter."""
    words = Counter(word for caption in captions for word in caption.split())
    total = sum(words.values())
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    whole = [(f"▁{word}", math.log(count / total)) for word, count in sorted(words.items())]
    # Unlikely enough that no word is spelt that is known whole.
    letters = [(letter, -20.0) for letter in ["▁", *map(chr, range(33, 127))]]
    return T5Tokenizer(vocab=[*special, *whole, *letters], extra_ids=0, model_max_length=TEXT_LENGTH)


def build_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """A two-layer encoder of the kind that the Wan family reads its prompts with."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary,
            d_model=TEXT_WIDTH,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
        )
    )


def build_denoiser() -> WanTransformer3DModel:
    """Six layers of six heads of 32 on 1 x 2 x 2 patches: 3.9 million parameters."""
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=64,
        ffn_dim=768,
        num_layers=6,
        rope_max_seq_len=64,
    )


class PromptedDenoiser(torch.nn.Module):
    """Text encoder and denoiser as one module, so that one optimizer and one average serve both."""

    def __init__(self, text_encoder: UMT5EncoderModel, transformer: WanTransformer3DModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.transformer = transformer

    def forward(
        self, noisy: torch.Tensor, timestep: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Predicted velocity, shaped as `noisy`: [batch, channels, frames, height, width]."""
        states = self.text_encoder(tokens, mask).last_hidden_state
        states = states * mask[..., None]  # padding is zero, as the Wan pipeline hands it over
        return cast("torch.Tensor", self.transformer(noisy, timestep, states, return_dict=False)[0])


def train_denoiser(
    latents: torch.Tensor,
    captions: Sequence[str],
    settings: DenoiserTraining,
    say: Callable[[str], None],
    on_checkpoint: Callable[[T5Tokenizer, PromptedDenoiser], None],
) -> None:
    """Flow matching on normalised `latents` [clips, channels, frames, height, width] and their captions.

    `on_checkpoint(tokenizer, averaged model)` is called every 500 steps and at the end.
    """
    torch.manual_seed(settings.seed)
    tokenizer = build_tokenizer(captions)
    model = PromptedDenoiser(build_text_encoder(len(tokenizer)), build_denoiser()).train()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
    encoded = tokenizer(
        [*captions, ""], padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    report = report_every(50, settings.steps, say)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warmup_cosine(step, settings.steps, settings.warmup)
        chosen = torch.randint(len(captions), (settings.batch,))
        clean = latents[chosen]
        prompts = torch.where(torch.rand(settings.batch) < settings.caption_dropout, len(captions), chosen)
        sigma = torch.randn(settings.batch).sigmoid()  # logit-normal, as in Stable Diffusion 3,
        sigma = SHIFT * sigma / (1 + (SHIFT - 1) * sigma)  # shifted to more noise, where it is decided what is where
        noise = torch.randn_like(clean)
        weight = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - weight) * clean + weight * noise
        with torch.autocast("cpu", torch.bfloat16):  # a quarter faster on current server cores
            predicted = model(noisy, sigma * TIMESTEPS, encoded.input_ids[prompts], encoded.attention_mask[prompts])
        loss = F.mse_loss(predicted.float(), noise - clean)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(model)
        report(step, loss.item())
        if (step + 1) % 500 == 0 or step + 1 == settings.steps:
            on_checkpoint(tokenizer, cast("PromptedDenoiser", averaged.module))
