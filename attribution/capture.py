"""Per-sample gradients of a layer's parameters, captured in the backward pass.

A forward hook puts an identity on the layer's output. The identity takes one more input: a variable that stands for the
layer's parameter, one for each sample. The gradient of that variable is the captured gradient. So autograd itself adds
up calls, frees buffers and recomputes (gradient checkpointing), as for any other tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.normalization import RMSNorm
from torch.nn import functional as F

from motiontrace.attribution.errors import ModelError

CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
NORMS = (torch.nn.LayerNorm, torch.nn.RMSNorm, RMSNorm)

Directions = tuple[torch.Tensor | None, torch.Tensor | None]
"""A matrix M [n, count]: a core [m, count] and signs [n], M[i] = signs[i] core[i mod m]; the core itself where there
are no signs, the identity where there is no core."""
NONE: Directions = (None, None)


def is_linear(module: torch.nn.Module) -> bool:
    """Whether a module is a linear layer, or a convolution that is one on patches: its kernel equals its stride."""
    if isinstance(module, CONVOLUTIONS):
        plain = module.groups == 1 and not any(module.padding) and all(step == 1 for step in module.dilation)
        return plain and module.kernel_size == module.stride and module.padding_mode == "zeros"
    return isinstance(module, torch.nn.Linear)


def is_norm(module: torch.nn.Module) -> bool:
    """Whether a module normalises its last axes and then scales them by its weight."""
    return isinstance(module, NORMS)


def capture_linear(
    module: torch.nn.Module,
    inputs: torch.Tensor,
    output: torch.Tensor,
    batch: int,
    *,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    left: Directions = NONE,
    right: Directions = NONE,
) -> torch.Tensor:
    """`output`, whose backward pass gives `weight` each sample's gradient A^T G B and `bias` its sum of delta.

    `inputs` and `output` are the layer's, rows grouped by sample; `weight` [batch, a, b]; `bias`
    [batch, n_out]; `left` is A [n_out, a] and `right` B [n_in, b].
    """
    patches = isinstance(module, CONVOLUTIONS)
    kept = None
    if weight is not None:
        with torch.no_grad():
            if isinstance(module, CONVOLUTIONS):
                inputs = _patches(inputs, module.kernel_size)
            kept = along(by_sample(inputs, batch, 1), right)
    values = output, weight, bias, kept, *left
    result: torch.Tensor = _Linear.apply(*values, batch, patches)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        output: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        kept: torch.Tensor | None,
        core: torch.Tensor | None,
        signs: torch.Tensor | None,
        batch: int,
        patches: bool,
    ) -> torch.Tensor:
        ctx.save_for_backward(kept, core, signs)
        ctx.batch, ctx.patches, ctx.has_bias = batch, patches, bias is not None
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kept, core, signs = ctx.saved_tensors
        rows = by_sample(delta.flatten(2).transpose(1, 2) if ctx.patches else delta, ctx.batch, 1)
        bias = rows.sum(1, dtype=torch.float32) if ctx.has_bias else None
        weight = None
        if kept is not None:
            weight = (along(rows, (core, signs)).to(kept.dtype).transpose(1, 2) @ kept).float()
        return delta, weight, bias, None, None, None, None, None


def capture_norm(
    module: torch.nn.Module,
    inputs: torch.Tensor,
    output: torch.Tensor,
    batch: int,
    *,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """`output`, whose backward pass gives `weight` and `bias`, [batch, *their shape], each sample's gradients."""
    shape = tuple(next(module.parameters(recurse=False)).shape)
    centred = isinstance(module, torch.nn.LayerNorm)
    values = output, weight, bias, inputs
    result: torch.Tensor = _Norm.apply(*values, batch, shape, centred, module.eps)  # type: ignore[no-untyped-call]
    return result


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        output: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        inputs: torch.Tensor,
        batch: int,
        shape: tuple[int, ...],
        centred: bool,
        eps: float | None,
    ) -> torch.Tensor:
        # The layer itself keeps its input for its backward pass: keeping it here too costs nothing.
        ctx.save_for_backward(inputs)
        ctx.batch, ctx.shape, ctx.centred, ctx.eps = batch, shape, centred, eps
        ctx.wanted = weight is not None, bias is not None
        ctx.mark_dirty(output)  # and not a view of it: attention layers turn normalised queries in place
        return output

    @staticmethod
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inputs,) = ctx.saved_tensors
        wants_weight, wants_bias = ctx.wanted
        rows = by_sample(delta, ctx.batch, len(ctx.shape)).float()
        weight = None
        if wants_weight:
            values = by_sample(inputs, ctx.batch, len(ctx.shape)).float()
            if ctx.centred:
                values = F.layer_norm(values, ctx.shape, eps=ctx.eps)
            else:
                values = F.rms_norm(values, ctx.shape, eps=ctx.eps)
            weight = (rows * values).sum(1)
        return delta, weight, rows.sum(1) if wants_bias else None, None, None, None, None, None


def along(rows: torch.Tensor, directions: Directions) -> torch.Tensor:
    """Rows M: [..., n] -> [..., count]."""
    core, signs = directions
    if core is None:
        return rows
    rows = rows.to(core.dtype)
    if signs is not None:
        # Folded onto the core's rows first: n additions a row instead of n * count.
        size = len(core)
        folded = rows[..., :size] * signs[:size]
        for start in range(size, len(signs), size):
            part = signs[start : start + size]
            folded[..., : len(part)].addcmul_(rows[..., start : start + size], part)
        rows = folded
    return rows @ core


def by_sample(values: torch.Tensor, batch: int, features: int) -> torch.Tensor:
    """[batch * s, ..., *features] -> [batch, rows, *features], where the last `features` axes stay.

    Raises ModelError where the first axis does not hold the samples, each in one stretch.
    """
    if values.ndim <= features or len(values) % batch:
        raise ModelError(
            f"a layer takes values of shape {tuple(values.shape)} for a batch of {batch}: their first axis does not"
            " hold the samples, so their gradients cannot be told apart. Use --gradients exact."
        )
    return values.reshape(batch, -1, *values.shape[values.ndim - features :])


def _patches(values: torch.Tensor, kernel: tuple[int, ...]) -> torch.Tensor:
    """[N, C, *space] -> [N, patches, C * kernel], in the order of the convolution's output and of its weight."""
    axes = len(kernel)
    for axis, step in enumerate(kernel):
        place = 2 + 2 * axis
        whole = values.shape[place] // step
        values = values.narrow(place, 0, whole * step).unflatten(place, (whole, step))
    order = [0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2)]
    return values.permute(order).flatten(1 + axes).flatten(1, axes)
