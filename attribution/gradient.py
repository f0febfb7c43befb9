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
"""Called with a parameter's name and its gradients, one for each sample, [batch, ...]; they may be factorised."""


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

    `prediction` and `target` are [B, C, f, h, w]; `weight` is [B, f, h, w] in [0, 1], the same for every channel;
    `frames` is the number of video frames F. With weight 1 it is the ordinary training loss over F.
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
    """Scales that give each latent channel the same share of the motion loss, over some clips.

    `errors` [N, C] >= 0 are the channels' mean weighted errors in each of N >= 1 clips. Each clip's errors are divided
    by their mean, so every clip counts alike, however much of it moves. The scales are the mean over clips, and 1 on
    average. No scale is below a thousandth. Four digits are kept.
    """
    shares = errors.double() / errors.double().mean(1, keepdim=True)
    return tuple(float(f"{max(share, 1e-3):.4g}") for share in shares.mean(0).tolist())


def gradient_scales(mean_squares: torch.Tensor) -> tuple[float, ...]:
    """Scales of parameter tensors: divided by them, gradients have the inner products that steps of Adam have.

    `mean_squares` [N, T] >= 0, not all zero, are the mean squared entries of the gradients of T tensors in N >= 1
    samples. Adam divides a gradient by the root of its second moment, here one for a tensor (Adam-mini, Zhang et al.,
    2024). So both sides of an inner product are divided by its fourth root. The scales' geometric mean is 1. A tensor's
    root mean square counts as at least a thousandth of the median of those that are not zero. Four digits are kept.
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
    """Computes the gradients of a batch of samples; subclasses say how."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection

    @property
    @abstractmethod
    def largest_batch(self) -> int | None:
        """The most samples that one backward pass can tell apart; None: any number. Final after the first pass."""

    @abstractmethod
    def collect(self, batch: int, losses: Iterable[Callable[[], torch.Tensor]], take: Take) -> None:
        """Calls `take` with every parameter's gradients of each sample: once for one loss, else in calls that add up.

        Each of `losses` runs the denoiser on all samples and returns a loss for each, [batch], that depends on its
        sample alone. The gradients of several losses are added up. Raises ModelError where the samples' gradients
        cannot be separated.
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
        """Whether two samples have the same gradients in one batch as each alone.

        It is tried once. If they differ, `largest_batch` is 1 from then on. `losses` takes a slice of two different
        samples, runs those, and returns their losses.
        """

    @abstractmethod
    def forward(self, loss: Callable[[], torch.Tensor]) -> None:
        """Runs only the forward pass of one sample, as `collect` does, so that what autograd keeps can be measured."""


class ExactGradients(SampleGradients):
    """Every parameter's whole gradient, one sample at a time: the reference for factorised gradients.

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
            self._clear()  # a backward pass that failed must leave nothing that the next clip's would be added to

    def _clear(self) -> None:
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
            parameter.grad = None


def contrast(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """The gradients [B, n] of clips minus those of the clips played backwards.

    A difference below a thousandth of the gradient is rounding error of a clip that looks the same backwards. It is set
    to zero, since ranking ignores a gradient's length.
    """
    left = forward - backward
    least = 1e-3 * torch.maximum(forward.norm(dim=1), backward.norm(dim=1))
    return torch.where((left.norm(dim=1) < least)[:, None], 0.0, left)


def unit(vector: torch.Tensor) -> NDArray[np.float32]:
    """`vector` divided by its length, float32 [n]; raises GradientError where it is zero or not finite."""
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
