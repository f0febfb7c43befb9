"""Gradients of a batch of samples by one backward pass, without ever forming the gradient of a weight.

For a linear layer the gradient of one sample is a sum over its tokens, G = sum_t delta_t x_t^T. Only its image under
two small random matrices is kept, A^T G B = sum_t (A^T delta_t) (B^T x_t)^T, of at most `factors` squared entries. The
forward pass projects x, the backward pass projects delta, and the two are multiplied for each sample
(docs/method.md#step-5-gradient; the two-sided projection is that of LoGra, Choe et al., 2024). For two gradients,
E<A^T G B, A^T H B> = <G, H>. The weights require no gradient, so autograd computes none.

The gradients of biases, of norms' weights and of modulation tables are small, and are exact. Any parameter that is used
in another way has its exact gradient from autograd. Autograd knows only the sum over a batch, so where there is such a
parameter, samples are taken one at a time.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from motiontrace.attribution.capture import NONE, Directions, capture_linear, capture_norm, is_linear, is_norm
from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.gradient import SampleGradients, Take
from motiontrace.attribution.projection import Projection, random_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping


class FactorisedGradients(SampleGradients):
    """Captures the gradients of a denoiser's attributed parameters, by hooks on its modules.

    Not safe to share between threads.
    """

    def __init__(
        self,
        denoiser: torch.nn.Module,
        parameters: Mapping[str, torch.nn.Parameter],
        projection: Projection,
        *,
        factors: int,
        seed: int,
        tables: Collection[str] = (),
    ) -> None:
        """`parameters` are the attributed ones by name.

        `tables` names parameters with a first axis of length 1 that the denoiser adds to values whose first axis is
        the batch.
        """
        super().__init__(projection)
        self._denoiser = denoiser
        self._factors, self._seed = factors, seed
        self._parameters = dict(parameters)
        names = {id(parameter): name for name, parameter in parameters.items()}
        self._tables = [name for name in tables if name in parameters]
        self._apart, self._checked = True, False
        self._batch = 0  # samples in the pass that is under way; 0 outside a pass
        self._variables: dict[str, torch.Tensor] = {}
        self._directions: dict[str, tuple[Directions, Directions]] = {}
        self._called: set[str] | None = set()
        """Parameters whose modules the first pass has called so far; None once it is over."""
        elsewhere: set[str] = set()
        hooked: set[str] = set()
        for module in denoiser.modules():
            held = {local: names[id(p)] for local, p in module.named_parameters(recurse=False) if id(p) in names}
            if held and (is_linear(module) or is_norm(module)):
                module.register_forward_hook(partial(self._hook, held), with_kwargs=True)
                hooked.update(held.values())
                if is_linear(module) and "weight" in held:
                    self._directions[held["weight"]] = self._draw_directions(held["weight"])
            else:
                elsewhere.update(held.values())  # a tied weight may be in both
        self._captured = hooked - elsewhere
        self._leave_to_autograd(set(parameters) - self._captured - set(self._tables))

    @property
    def largest_batch(self) -> int | None:
        """The most samples that one backward pass can tell apart; None: any number. Final after the first pass."""
        return 1 if self._rest or not self._apart else None

    def tell_apart(self, losses: Callable[[slice], torch.Tensor]) -> bool:
        """See `motiontrace.attribution.gradient.SampleGradients`: a layer may order its rows as it likes."""
        if self.largest_batch is None and not self._checked:
            alone = torch.cat([self.sketch(1, [partial(losses, slice(i, i + 1))]) for i in range(2)])
            if self._rest:  # found by the first of these passes
                return False
            together = self.sketch(2, [partial(losses, slice(2))])
            # Mixed-up gradients differ by about their own length; bfloat16's rounding makes a hundredth of that.
            self._apart = bool((together - alone).norm() < 0.1 * alone.norm())
            self._checked = True
        return self.largest_batch is None

    def forward(self, loss: Callable[[], torch.Tensor]) -> None:
        """See `motiontrace.attribution.gradient.SampleGradients`."""
        with self._pass(1):
            loss()

    def collect(self, batch: int, losses: Iterable[Callable[[], torch.Tensor]], take: Take) -> None:
        """See `motiontrace.attribution.gradient.SampleGradients`; a weight's gradients are A^T G B."""
        with self._pass(batch):
            for loss in losses:
                values = loss()
                if self._called is not None and (missed := self._captured - self._called):
                    # They are unused, or used without their module, which no hook can see: autograd tells which.
                    self._captured -= missed
                    self._leave_to_autograd(self._rest | missed)
                    self._variables = {name: kept for name, kept in self._variables.items() if name not in missed}
                    del values  # and the graph with it, before there is another
                    values = loss()
                values.sum().backward()
                if self._called is not None:
                    self._leave_to_autograd({name for name in self._rest if self._parameters[name].grad is not None})
                    self._called = None
            for name in sorted(self._rest):
                if (gradient := self._parameters[name].grad) is not None:
                    take(name, gradient[None])
            for name, variable in self._variables.items():
                if variable.grad is not None:
                    take(name, variable.grad)

    def _leave_to_autograd(self, names: set[str]) -> None:
        self._rest = names
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in names)

    @contextmanager
    def _pass(self, batch: int) -> Iterator[None]:
        """Puts the variables of a pass in place, and removes them afterwards whatever happens."""
        if batch > 1 and self._rest:
            raise ModelError(
                f"the gradients of a batch cannot be told apart for {min(self._rest)}: give one clip a pass"
            )
        self._batch = batch
        self._leave_to_autograd(self._rest)
        try:
            self._variables = {name: self._variable_of(name) for name in sorted(self._captured)}
            for name in self._tables:
                # One for each sample, in the table's own place: what it is added to has the batch axis already.
                table = self._parameters[name].detach()
                self._variables[name] = torch.nn.Parameter(table.expand(batch, *table.shape[1:]).clone())
                self._place(name, self._variables[name])
            yield
        finally:
            self._batch, self._variables = 0, {}
            for name in self._tables:
                self._place(name, self._parameters[name])
            for parameter in self._parameters.values():
                parameter.grad = None

    def _place(self, name: str, parameter: torch.Tensor) -> None:
        module, _, attribute = name.rpartition(".")
        setattr(self._denoiser.get_submodule(module), attribute, parameter)

    def _variable_of(self, name: str) -> torch.Tensor:
        """What stands for a parameter: one for each sample, float32 [batch, ...]."""
        parameter = self._parameters[name]
        shape = parameter.shape
        if name in self._directions:
            sizes = parameter.shape[0], parameter[0].numel()
            cores = (core for core, _ in self._directions[name])
            shape = torch.Size(size if core is None else core.shape[1] for core, size in zip(cores, sizes, strict=True))
        return torch.zeros(self._batch, *shape, device=parameter.device, requires_grad=True)

    def _draw_directions(self, name: str) -> tuple[Directions, Directions]:
        """A [n_out, a] and B [n_in, b] of a weight, in its number format and on its device."""
        weight, count = self._parameters[name], self._factors
        out, into = weight.shape[0], weight[0].numel()
        if out * into <= 2 * (count * (out + into) + count**2):
            return NONE, NONE  # a small layer, often the first or last, is kept whole: at most twice the arithmetic
        left, right = (
            _placed(random_directions(random_key(f"factors {side}", self._seed, name), size, count), weight)
            for side, size in (("out", out), ("in", into))
        )
        return left, right

    def _hook(
        self, names: Mapping[str, str], module: torch.nn.Module, args: Any, kwargs: Any, output: torch.Tensor
    ) -> torch.Tensor | None:
        """Puts the capture on a module's output; `names` of its own parameters "weight" and "bias"."""
        if not self._batch:
            return None
        if self._called is not None:
            self._called.update(names.values())
        if not torch.is_grad_enabled():
            return None
        weight, bias = (self._variables.get(names.get(local, "")) for local in ("weight", "bias"))
        if weight is None and bias is None:
            return None
        inputs = args[0] if args else next(iter(kwargs.values()))
        if is_norm(module):
            return capture_norm(module, inputs, output, self._batch, weight=weight, bias=bias)
        left, right = self._directions.get(names.get("weight", ""), (NONE, NONE))
        return capture_linear(module, inputs, output, self._batch, weight=weight, bias=bias, left=left, right=right)


def random_directions(key: np.ndarray, size: int, count: int) -> Directions:
    """`count` random directions M of R^size, float32, E<M^T x, M^T y> = <x, y>; the identity where count >= size.

    The subsampled randomised Hadamard transform (Ailon and Chazelle, 2009) of the entries folded with random signs onto
    at most 4 * count places: entries +-1/sqrt(count), which for a power of four is exact in bfloat16.
    """
    if count >= size:
        return NONE
    places = 1 << (min(size, 4 * count) - 1).bit_length()
    words = np.random.Philox(key=key.view("<u8")).random_raw(places + size)
    chosen = np.argsort(words[:places], kind="stable")[:count]
    parity = np.bitwise_count(np.arange(places)[:, None] & chosen[None, :]) & 1
    core = (1 - 2 * parity.astype(np.float32)) / np.float32(count) ** 0.5
    signs = 1 - 2 * (words[places:] & np.uint64(1)).astype(np.float32)
    return torch.from_numpy(core), torch.from_numpy(signs)


def _placed(directions: Directions, weight: torch.Tensor) -> Directions:
    core, signs = directions
    if core is None or signs is None:
        return directions
    if weight.device.type == "cpu" and len(signs) > len(core):
        return core.to(weight), signs.to(weight)
    # A GPU is bound by memory, not arithmetic: one product with all of M is faster there.
    whole = signs[:, None] * core[torch.arange(len(signs)) % len(core)]
    return whole.to(weight), None
