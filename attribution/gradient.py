"""The motion loss and its projected gradient (METHOD, steps 4 to 6)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch

from attribution.errors import GradientError, ModelError
from attribution.projection import Projection, Sketch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


def motion_loss(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, frames: int) -> torch.Tensor:
    """L_mot = (1 / F) mean(W (prediction - target)^2), a scalar.

    ``prediction`` and ``target`` [B, C, f, h, w]; ``weight`` [f, h, w] in [0, 1], the same for every channel;
    ``frames`` the clip's number of video frames F. With weight 1 it is the ordinary training loss over F.
    """
    error = (prediction.float() - target.float()).square()
    return (weight.to(error) * error).mean() / frames


def attributed_parameters(denoiser: torch.nn.Module, patterns: Sequence[str]) -> dict[str, torch.nn.Parameter]:
    """The denoiser's parameters whose name matches one of the shell ``patterns``; raises ModelError if none does."""
    chosen = {
        name: parameter
        for name, parameter in denoiser.named_parameters()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not chosen:
        names = (name for name, _ in denoiser.named_parameters())
        raise ModelError(
            f"no parameter of the denoiser matches {', '.join(patterns)}; they are named like {next(names)}"
        )
    return chosen


def projected_gradient(
    loss: torch.Tensor, parameters: Mapping[str, torch.nn.Parameter], projection: Projection
) -> torch.Tensor:
    """P dL/dtheta by one backward pass: float64 [dim] on the CPU, not normalised.

    Each parameter's gradient is projected the moment autograd has finished it and is then dropped, so the
    concatenated gradient never exists. The parameters must require grad and hold none.
    """
    sketch = Sketch(projection)

    def take(name: str, parameter: torch.nn.Parameter) -> None:
        assert parameter.grad is not None
        sketch.add(name, parameter.grad)
        parameter.grad = None

    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda done, name=name: take(name, done))
        for name, parameter in parameters.items()
    ]
    try:
        loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in parameters.values():
            parameter.grad = None  # where the backward pass broke off: it must not be added to the next clip's
    return sketch.vector()


def unit(vector: torch.Tensor) -> NDArray[np.float32]:
    """``vector`` over its length as float32 [dim]; raises GradientError where it has none or is not finite."""
    length = vector.norm()
    if not torch.isfinite(length):
        raise GradientError("the gradient is not finite; try dtype float32, or check the checkpoint for NaN weights")
    if length == 0:
        raise GradientError("the gradient is zero although something moves; is the checkpoint trained?")
    result: NDArray[np.float32] = (vector / length).float().numpy()
    return result
