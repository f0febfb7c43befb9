"""The motion loss and its projected gradient (METHOD, steps 4 to 6)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

import torch

from attribution.errors import GradientError, ModelError
from attribution.projection import Projection, Sketch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


def motion_loss(
    prediction: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    frames: int,
    *,
    frame_difference: bool = False,
    scales: torch.Tensor | None = None,
) -> torch.Tensor:
    """L_mot = (1 / F) mean(W (prediction - target)^2) of each sample, [B].

    ``prediction`` and ``target`` [B, C, f, h, w]; ``weight`` [B, f, h, w] in [0, 1], the same for every channel;
    ``frames`` the clips' number of video frames F. With weight 1 it is the ordinary training loss over F.
    ``frame_difference`` is that of :func:`weighted_error`; ``scales`` [C] > 0 divide the channels' squared errors.
    """
    error = weighted_error(prediction, target, weight, frame_difference=frame_difference)
    if scales is not None:
        error = error / scales.to(error)[:, None, None, None]
    return error.mean((1, 2, 3, 4)) / frames


def weighted_error(
    prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, *, frame_difference: bool = False
) -> torch.Tensor:
    """W (prediction - target)^2 at every position of every sample, [B, C, f, h, w]; arguments as of the motion loss.

    With ``frame_difference`` it is the square of the error's change from each latent frame to the next, weighted by
    the mean of both frames' weights: [B, C, f - 1, h, w].
    """
    error, weight = prediction.float() - target.float(), weight[:, None].to(prediction.device, torch.float32)
    if frame_difference:
        error, weight = error.diff(dim=2), (weight[:, :, 1:] + weight[:, :, :-1]) / 2
    return weight * error.square()


def channel_scales(errors: torch.Tensor) -> tuple[float, ...]:
    """Scales of the latent channels by which each has, over some clips, the same share of the motion loss.

    ``errors`` [N, C] >= 0 are the channels' mean weighted errors in each of N >= 1 clips. Every clip counts alike,
    however much of it moves: the scales are the mean of its channels' errors over their own mean, so they are 1 on
    average. A channel with less than a thousandth of the mean error is not blown up further. Four digits are kept.
    """
    shares = errors.double() / errors.double().mean(1, keepdim=True)
    return tuple(float(f"{max(share, 1e-3):.4g}") for share in shares.mean(0).tolist())


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a parameter's name matches one of the shell ``patterns``."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def attributed_parameters(denoiser: torch.nn.Module, patterns: Sequence[str]) -> dict[str, torch.nn.Parameter]:
    """The denoiser's parameters whose name matches one of the shell ``patterns``; raises ModelError if none does."""
    chosen = {name: parameter for name, parameter in denoiser.named_parameters() if matches(name, patterns)}
    if not chosen:
        names = (name for name, _ in denoiser.named_parameters())
        raise ModelError(
            f"no parameter of the denoiser matches {', '.join(patterns)}; they are named like {next(names)}"
        )
    return chosen


class SampleGradients(Protocol):
    """A way to the sketched gradients of a batch of samples."""

    @property
    def largest_batch(self) -> int | None:
        """How many samples one backward pass can tell apart; None: any number. Final after the first pass."""
        ...

    def tell_apart(self, losses: Callable[[slice], torch.Tensor]) -> bool:
        """Whether a batch may be more than one sample: whether two have the same gradients together as alone.

        Tried once; if not, :attr:`largest_batch` is 1 from then on. ``losses`` runs those of two different samples that
        a slice names and returns their losses.
        """
        ...

    def forward(self, loss: Callable[[], torch.Tensor]) -> None:
        """The forward pass of one sample as :meth:`sketch` runs it, and no more: autograd keeps what it would keep."""
        ...

    def sketch(self, batch: int, losses: Iterable[Callable[[], torch.Tensor]]) -> torch.Tensor:
        """The sketched gradient of each sample: float64 [batch, projection.dim] on the CPU, not normalised.

        Each of ``losses`` runs the denoiser on all samples and returns a loss for each, [batch], that depends on its
        sample alone; the gradients of several are added up. Raises ModelError where samples cannot be told apart.
        """
        ...


class ExactGradients:
    """Every parameter's whole gradient, one sample at a time: what the factorised ones are measured against.

    A gradient is sketched the moment autograd has finished it and is then dropped, so the concatenated gradient never
    exists.
    """

    largest_batch = 1

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], projection: Projection) -> None:
        self._parameters, self._projection = parameters, projection

    def tell_apart(self, losses: Callable[[slice], torch.Tensor]) -> bool:
        """See :class:`SampleGradients`: one at a time."""
        return False

    def forward(self, loss: Callable[[], torch.Tensor]) -> None:
        """See :class:`SampleGradients`."""
        self._clear()
        loss()

    def sketch(self, batch: int, losses: Iterable[Callable[[], torch.Tensor]]) -> torch.Tensor:
        """See :class:`SampleGradients`."""
        if batch != 1:
            raise ModelError(f"exact gradients are computed one clip at a time, not {batch}")
        self._clear()
        sketch = Sketch(self._projection, 1)

        def take(name: str, parameter: torch.nn.Parameter) -> None:
            assert parameter.grad is not None
            sketch.add(name, parameter.grad[None])
            parameter.grad = None

        hooks = [
            parameter.register_post_accumulate_grad_hook(lambda done, name=name: take(name, done))
            for name, parameter in self._parameters.items()
        ]
        try:
            for loss in losses:
                loss().sum().backward()
        finally:
            for hook in hooks:
                hook.remove()
            self._clear()  # where the backward pass broke off: what it left must not be added to the next clip's
        return sketch.vectors()

    def _clear(self) -> None:
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
            parameter.grad = None


def contrast(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """The gradients [B, n] of clips less those of the clips played backwards.

    Zero where less than a thousandth is left, of a clip that is as good as the same played backwards: that is rounding,
    and would be ranked as a gradient of any length is.
    """
    left = forward - backward
    least = 1e-3 * torch.maximum(forward.norm(dim=1), backward.norm(dim=1))
    return torch.where((left.norm(dim=1) < least)[:, None], 0.0, left)


def unit(vector: torch.Tensor) -> NDArray[np.float32]:
    """``vector`` over its length as float32 [n]; raises GradientError where it has none or is not finite."""
    length = vector.norm()
    if not torch.isfinite(length):
        raise GradientError("the gradient is not finite; try dtype float32, or check the checkpoint for NaN weights")
    if length == 0:
        raise GradientError(
            "the gradient is zero although something moves; is the checkpoint trained? With contrast time_reversed a"
            " clip that is the same played backwards has none either"
        )
    result: NDArray[np.float32] = (vector / length).float().numpy()
    return result
