"""Measures whether a clip's activations fit into memory, and how many clips a pass should take."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.free_memory import free_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import ModelMixin

_USABLE = 0.85  # share of free memory: allocators fragment it, and other captions are longer
_SURELY = 0.25  # share of the usable memory: if less is counted, a backward pass needs no trial
_LARGEST_BATCH = 8
_LONG = 1.0  # seconds: a clip that takes longer keeps any device busy without others beside it
_GIB = 2**30
_OUT_OF_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")  # of the CPU, CUDA, cuDNN and cuBLAS
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class MemoryPlan:
    """The measured memory of a clip, and the settings that follow from it."""

    checkpointing: bool
    """Gradient checkpointing: activations of a block are computed again in the backward pass instead of kept."""
    batch: int
    """Clips in a pass."""
    clip_bytes: int
    """The most bytes that one clip takes beyond the model itself."""


def plan_memory(
    denoiser: ModelMixin,
    device: torch.device,
    *,
    forward: Callable[[], object],
    run: Callable[[int], object],
    largest_batch: Callable[[], int | None] | None,
) -> MemoryPlan:
    """Tries one clip without gradient checkpointing and, if it does not fit, with it. The denoiser stays so set.

    `forward` is the forward pass of one clip under autograd. `run` runs forward and backward passes of a number of
    clips. `largest_batch` is called after the first pass; without it a batch is one clip. Raises ModelError where not
    even one clip fits.
    """
    free = free_memory(device)
    usable = int(_USABLE * free)
    denoiser.disable_gradient_checkpointing()
    # Counting keeps no activations: on a CPU, the kernel kills a process whose activations do not fit.
    kept = _unless_out_of_memory(device, lambda: saved_bytes(forward, denoiser))
    if largest_batch is None and kept is not None and kept < _SURELY * usable:
        return MemoryPlan(False, 1, kept)
    clip_bytes = None
    if kept is not None and kept < usable:
        # Memory that the process freed before is reused unseen, so the peak may be too low: the count is its floor.
        clip_bytes = _unless_out_of_memory(device, lambda: max(kept, _peak(device, lambda: run(1))))
    checkpointing = clip_bytes is None or clip_bytes > usable
    if checkpointing:
        denoiser.enable_gradient_checkpointing()
        clip_bytes = _unless_out_of_memory(device, lambda: _peak(device, lambda: run(1)))
    if clip_bytes is None:
        raise ModelError(
            f"one clip does not fit into the {free / _GIB:.1f} GiB that are free on {device}, even with gradient"
            " checkpointing. Use fewer frames, a smaller height and width, dtype bfloat16, or another device."
        )
    most = 1
    if largest_batch is not None and not checkpointing:  # a clip that has to be computed twice keeps any device busy
        most = min(_LARGEST_BATCH, largest_batch() or _LARGEST_BATCH, usable // max(clip_bytes, 1))
    return MemoryPlan(checkpointing, _fastest_batch(device, run, most), clip_bytes)


def _fastest_batch(device: torch.device, run: Callable[[int], object], most: int) -> int:
    """The smallest batch, a power of two, that twice the batch betters by less than a twentieth of a clip's time."""
    if most < 2:
        return 1
    batch, seconds = 1, _seconds_each(run, 1)
    while 2 * batch <= most and seconds < _LONG:
        larger = _unless_out_of_memory(device, partial(_seconds_each, run, 2 * batch))
        if larger is None or larger > 0.95 * seconds:
            break
        batch, seconds = 2 * batch, larger
    return batch


def _seconds_each(run: Callable[[int], object], batch: int) -> float:
    """Wall seconds for each clip, the better of two runs."""
    best = math.inf
    for _ in range(2):
        start = time.perf_counter()
        run(batch)
        best = min(best, (time.perf_counter() - start) / batch)
        if best > _LONG:
            break
    return best


def saved_bytes(forward: Callable[[], object], module: torch.nn.Module) -> int:
    """Bytes that autograd would keep of a forward pass for the backward pass, beyond the parameters of `module`.

    Each tensor is dropped at once, so the pass takes little memory. It cannot be differentiated.
    """
    seen: dict[int, StorageWeakRef] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        storage = tensor.untyped_storage()
        seen[storage._cdata] = StorageWeakRef(storage)
    total = 0

    def count(tensor: torch.Tensor) -> None:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage._cdata not in seen or seen[storage._cdata].expired():
            seen[storage._cdata] = StorageWeakRef(storage)
            total += storage.nbytes()

    with torch.autograd.graph.saved_tensors_hooks(count, _never):
        forward()
    return total


def _never(packed: Any) -> torch.Tensor:
    raise AssertionError("a pass whose memory is counted cannot be differentiated")


def _unless_out_of_memory(device: torch.device, work: Callable[[], _Number]) -> _Number | None:
    """What `work` returns, None where the device ran out of memory."""
    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError):
        pass
    except RuntimeError as error:
        if not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _peak(device: torch.device, work: Callable[[], object]) -> int:
    """The most bytes that `work` takes beyond what was taken before."""
    if device.type != "cuda":
        return _host_peak(work)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return int(torch.cuda.max_memory_allocated(device)) - before


def _host_peak(work: Callable[[], object]) -> int:
    """As `_peak`, by reading the process's resident memory every few milliseconds."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(0, max(peak, process.memory_info().rss) - before)
