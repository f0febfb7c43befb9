"""A Wan-shaped transformer with random weights, and the ways to a clip's gradient on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers import WanTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from motiontrace.attribution.factorised import FactorisedGradients
from motiontrace.attribution.gradient import motion_loss
from motiontrace.attribution.projection import CountSketch, Sketch
from motiontrace.attribution.recipe import ProjectionSettings

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS = ("floor", "plain", "ours")
TIMESTEP, FRAMES = 751.0, 81


@dataclass(frozen=True)
class Shape:
    """A transformer and what it is given."""

    heads: int
    head_dim: int
    ffn_dim: int
    layers: int
    text_dim: int
    freq_dim: int
    latent: tuple[int, int, int, int]
    """Channels, frames, height, width."""
    text_tokens: int

    def build(self, device: str, dtype: torch.dtype) -> WanTransformer3DModel:
        """The transformer; on a meta device it takes no memory."""
        torch.manual_seed(0)
        with torch.device(device):
            model = WanTransformer3DModel(
                patch_size=(1, 2, 2),
                num_attention_heads=self.heads,
                attention_head_dim=self.head_dim,
                in_channels=self.latent[0],
                out_channels=self.latent[0],
                text_dim=self.text_dim,
                freq_dim=self.freq_dim,
                ffn_dim=self.ffn_dim,
                num_layers=self.layers,
                cross_attn_norm=True,
                qk_norm="rms_norm_across_heads",
            )
        for name, parameter in model.named_parameters():
            # As diffusers loads it: some stay in float32.
            if not any(kept in name.split(".") for kept in model._keep_in_fp32_modules):
                parameter.data = parameter.data.to(dtype)
        return model.eval().requires_grad_(False)

    def forward_flops(self) -> tuple[int, int]:
        """Floating point operations of one forward pass: in linear layers, and between queries, keys and values."""
        inputs = torch.empty(1, *self.latent, device="meta"), torch.empty(1, device="meta")
        prompt = torch.empty(1, self.text_tokens, self.text_dim, device="meta")
        model = self.build("meta", torch.float32)
        # Plain attention, so that it is counted wherever this runs; nothing is computed or kept on a meta device.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(*inputs, prompt, return_dict=False)
        counts: dict[Any, int] = counter.get_flop_counts()["Global"]
        attention = sum(count for kind, count in counts.items() if kind in (torch.ops.aten.bmm, torch.ops.aten.baddbmm))
        return sum(counts.values()) - attention, attention


class Passes:
    """Callables for each of WAYS: what takes a batch of clips to their sketched gradients."""

    def __init__(
        self,
        shape: Shape,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        checkpointing: bool,
        compiled: bool,
    ) -> None:
        self._shape, self._device, self._dtype = shape, device, dtype
        self.model = shape.build(device, dtype)
        if checkpointing:
            self.model.enable_gradient_checkpointing()
        self._compiled = compiled
        self._projection = CountSketch(0, ProjectionSettings().width)

    def way(self, name: str, batch: int) -> Callable[[], object]:
        """One of WAYS, or "bare"; a model serves one of them only.

        floor: forward and backward passes through the activations, no weight's gradient. bare: the same without the
        modulation by time, which autograd leaves out where nothing on its way wants a gradient. plain: every weight's
        gradient, held at once, then sketched. ours: `FactorisedGradients`.
        """
        work: Callable[[], object]
        parameters = dict(self.model.named_parameters())
        tables = [parameter for parameter in parameters if parameter.endswith("scale_shift_table")]
        if name in ("floor", "bare"):
            for table in tables if name == "floor" else ():
                parameters[table].requires_grad_(True)
            work = partial(self._floor, batch)
        elif name == "plain":
            self.model.requires_grad_(True)
            work = partial(self._plain, batch)
        else:
            gradients = FactorisedGradients(
                self.model, parameters, self._projection, factors=ProjectionSettings().factors, seed=0, tables=tables
            )
            work = partial(self._ours, gradients, batch)
        if self._compiled:
            # Each block has hooks of its own, so that the blocks do not share what is compiled.
            torch._dynamo.config.recompile_limit = 4 * self._shape.layers
            self.model.compile_repeated_blocks()
        return work

    def _losses(self, latent: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """The motion loss of each of a batch, [B]."""
        steps = torch.full((len(latent),), TIMESTEP, device=self._device)
        prediction = self.model(latent, steps, prompt, return_dict=False)[0]
        weight = torch.ones(len(latent), *self._shape.latent[1:], device=self._device)
        return motion_loss(prediction, torch.zeros_like(prediction), weight, FRAMES)

    def _inputs(self, batch: int, *, leaves: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        shape = self._shape
        generator = torch.Generator(self._device).manual_seed(0)
        latent, prompt = (
            torch.randn(batch, *sizes, device=self._device, generator=generator).to(self._dtype)
            for sizes in (shape.latent, (shape.text_tokens, shape.text_dim))
        )
        return latent.requires_grad_(leaves), prompt.requires_grad_(leaves)

    def _floor(self, batch: int) -> None:
        self._losses(*self._inputs(batch, leaves=True)).sum().backward()

    def _plain(self, batch: int) -> torch.Tensor:
        if batch != 1:
            raise ValueError("a plain backward pass adds a batch up")
        self._losses(*self._inputs(batch)).sum().backward()
        sketch = Sketch(self._projection, 1)
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                sketch.add(name, parameter.grad[None])
        for parameter in self.model.parameters():
            parameter.grad = None
        return sketch.vectors()

    def _ours(self, gradients: FactorisedGradients, batch: int) -> torch.Tensor:
        return gradients.sketch(batch, [lambda: self._losses(*self._inputs(batch))])
