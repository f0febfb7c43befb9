"""The motion loss and its projected gradient (docs/method.md#step-4-loss to docs/method.md#step-6-projection)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch

from motiontrace.attribution.errors import GradientError, ModelError
from motiontrace.attribution.projection import Projection, Sketch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

Take = Callable[[str, torch.Tensor], None]
"""Hears of a parameter's gradients, by its name: one a sample, [batch, ...]; they may be as sketched by their layer."""


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

    `prediction` and `target` [B, C, f, h, w]; `weight` [B, f, h, w] in [0, 1], the same for every channel;
    `frames` the clips' number of video frames F. With weight 1 it is the ordinary training loss over F.
    `frame_difference` is that of `weighted_error`; `scales` [C] > 0 divide the channels' squared errors.
    """
    error = weighted_error(prediction, target, weight, frame_difference=frame_difference)
    if scales is not None:
        error = error / scales.to(error)[:, None, None, None]
    return error.mean((1, 2, 3, 4)) / frames


def weighted_error(
    prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, *, frame_difference: bool = False
) -> torch.Tensor:
    """W (prediction - target)^2 at every position of every sample, [B, C, f, h, w]; arguments as of the motion loss.

    With `frame_difference` it is the square of the error's change from each latent frame to the next, weighted by
    the mean of both frames' weights: [B, C, f - 1, h, w].
    """
    error, weight = prediction.float() - target.float(), weight[:, None].to(prediction.device, torch.float32)
    if frame_difference:
        error, weight = error.diff(dim=2), (weight[:, :, 1:] + weight[:, :, :-1]) / 2
    return weight * error.square()


def channel_scales(errors: torch.Tensor) -> tuple[float, ...]:
    """Scales of the latent channels by which each has, over some clips, the same share of the motion loss.

    `errors` [N, C] >= 0 are the channels' mean weighted errors in each of N >= 1 clips. Every clip counts alike,
    however much of it moves: the scales are the mean of its channels' errors over their own mean, so they are 1 on
    average. A channel with less than a thousandth of the mean error is not blown up further. Four digits are kept.
    """
    shares = errors.double() / errors.double().mean(1, keepdim=True)
    return tuple(float(f"{max(share, 1e-3):.4g}") for share in shares.mean(0).tolist())


def gradient_scales(mean_squares: torch.Tensor) -> tuple[float, ...]:
    """Scales of parameter tensors: divided by them, gradients have the inner products that steps of Adam have.

    `mean_squares` [N, T] >= 0, not all zero, are the mean squared entries of the gradients of T tensors in N >= 1
    samples. Adam divides a gradient by the root of its second moment, here one for a tensor (Adam-mini, Zhang et al.,
    2024); both sides of an inner product are divided by its fourth root. The scales' geometric mean is 1; a tensor with
    less than a thousandth of the median root mean square of those that are not zero is not blown up further. Four
    digits are kept.
    """
    sizes = mean_squares.double().mean(0).sqrt()
    sizes = sizes.clamp(min=1e-3 * sizes[sizes > 0].median()).sqrt()
    return tuple(float(f"{scale:.4g}") for scale in (sizes / sizes.log().mean().exp()).tolist())


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a parameter's name matches one of the shell `patterns`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def attributed_parameters(denoiser: torch.nn.Module, patterns: Sequence[str]) -> dict[str, torch.nn.Parameter]:
    """The denoiser's parameters whose name matches one of the shell `patterns`; raises ModelError if none does."""
    chosen = {name: parameter for name, parameter in denoiser.named_parameters() if matches(name, patterns)}
    if not chosen:
        names = (name for name, _ in denoiser.named_parameters())
        raise ModelError(
            f"no parameter of the denoiser matches {', '.join(patterns)}; they are named like {next(names)}"
        )
    return chosen


class SampleGradients(ABC):
    """A way to the gradients of a batch of samples."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection

    @property
    @abstractmethod
    def largest_batch(self) -> int | None:
        """How many samples one backward pass can tell apart; None: any number. Final after the first pass."""

    @abstractmethod
    def collect(self, batch: int, losses: Iterable[Callable[[], torch.Tensor]], take: Take) -> None:
        """Gives `take` every parameter's gradients of each sample: one call for one loss, else calls that add up.

        Each of `losses` runs the denoiser on all samples and returns a loss for each, [batch], that depends on its
        sample alone; the gradients of several are added up. Raises ModelError where samples cannot be told apart.
        """

    def sketch(
        self, batch: int, losses: Iterable[Callable[[], torch.Tensor]], scales: Mapping[str, float] | None = None
    ) -> torch.Tensor:
        """The sketched gradient of each sample: float64 [batch, projection.dim] on the CPU, not normalised.

        `losses` are as of `collect`, `scales` as of `motiontrace.attribution.projection.Sketch`.
        """
        sketch = Sketch(self._projection, batch, scales)
        self.collect(batch, losses, sketch.add)
        return sketch.vectors()

    @abstractmethod
    def tell_apart(self, losses: Callable[[slice], torch.Tensor]) -> bool:
        """Whether a batch may be more than one sample: whether two have the same gradients together as alone.

        Tried once; if not, `largest_batch` is 1 from then on. `losses` runs those of two different samples that
        a slice names and returns their losses.
        """

    @abstractmethod
    def forward(self, loss: Callable[[], torch.Tensor]) -> None:
        """The forward pass of one sample as `collect` runs it, and no more: autograd keeps what it would keep."""


class ExactGradients(SampleGradients):
    """Every parameter's whole gradient, one sample at a time: what the factorised ones are measured against.

    A gradient is taken the moment autograd has finished it and is then dropped, so the concatenated gradient never
    exists.
    """

    largest_batch = 1

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], projection: Projection) -> None:
        super().__init__(projection)
        self._parameters = parameters

    def tell_apart(self, losses: Callable[[slice], torch.Tensor]) -> bool:
        """See `SampleGradients`: one at a time."""
        return False

    def forward(self, loss: Callable[[], torch.Tensor]) -> None:
        """See `SampleGradients`."""
        self._clear()
        loss()

    def collect(self, batch: int, losses: Iterable[Callable[[], torch.Tensor]], take: Take) -> None:
        """See `SampleGradients`."""
        if batch != 1:
            raise ModelError(f"exact gradients are computed one clip at a time, not {batch}")
        self._clear()

        def finished(name: str, parameter: torch.nn.Parameter) -> None:
            assert parameter.grad is not None
            take(name, parameter.grad[None])
            parameter.grad = None

        hooks = [
            parameter.register_post_accumulate_grad_hook(lambda done, name=name: finished(name, done))
            for name, parameter in self._parameters.items()
        ]
        try:
            for loss in losses:
                loss().sum().backward()
        finally:
            for hook in hooks:
                hook.remove()
            self._clear()  # where the backward pass broke off: what it left must not be added to the next clip's

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
    """`vector` over its length as float32 [n]; raises GradientError where it has none or is not finite."""
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
