"""One clip's gradient at the size of Wan2.1-T2V-1.3B on a GPU: 81 frames of 480x832, random weights, bfloat16.

Ours beside a plain backward pass that holds every weight's gradient and then sketches them, and beside the floor: the
same forward and backward passes through the activations alone. With and without gradient checkpointing and
torch.compile, where they fit.

    python -m benchmarks.gpu                          # any CUDA device
    python -m benchmarks.gpu --device cpu --tiny      # the whole script at a toy size; keeps no results
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKLWan

from benchmarks.passes import WAYS, Passes, Shape
from benchmarks.report import report, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAN_1_3B = Shape(
    heads=12,
    head_dim=128,
    ffn_dim=8960,
    layers=30,
    text_dim=4096,
    freq_dim=256,
    latent=(16, 21, 60, 104),
    text_tokens=512,
)
TINY = Shape(heads=2, head_dim=16, ffn_dim=64, layers=2, text_dim=16, freq_dim=16, latent=(4, 3, 8, 8), text_tokens=8)
VIDEO, TINY_VIDEO = (1, 3, 81, 480, 832), (1, 3, 5, 32, 32)
PEAK_TFLOPS = {"H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bfloat16 of NVIDIA's data sheets; the first name that is part of the device's counts."""
SECONDS_GOAL, PROJECTION_GOAL = 5.0, 3.0
REPEATS = 3
Found = dict[str, Any]
_NAMES = {
    "floor": "forward and activation backward alone",
    "plain": "(a) weight gradients, then projected",
    "ours": "(b) ours",
}
_MODES = ((False, False), (False, True), (True, False), (True, True))  # checkpointing, compiled


def main(arguments: Sequence[str] | None = None) -> None:
    """Every way in every mode, the autoencoder, and the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy size, to try the script")
    parser.add_argument(
        "--peak-tflops", type=float, help="the device's dense bfloat16 peak, where it is not known here"
    )
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes minutes")
    chosen = parser.parse_args(arguments)
    device, tiny = chosen.device, chosen.tiny
    if device.startswith("cuda") and not torch.cuda.is_available():
        print("gpu: no CUDA device here, nothing measured; run python -m benchmarks.gpu where there is one")
        return
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    peak = chosen.peak_tflops or next((tflops for part, tflops in PEAK_TFLOPS.items() if part in name), None)
    shape = TINY if tiny else WAN_1_3B
    linear, attention = shape.forward_flops()
    print(f"one forward pass: {linear / 1e12:.1f} TFLOP in linear layers, {attention / 1e12:.1f} in attention")
    rows = []
    for checkpointing, compiled in _MODES:
        if compiled and chosen.eager:
            continue
        found: dict[str, Found | None] = {}
        for way in WAYS:
            found[way] = measured(shape, way, device, checkpointing=checkpointing, compiled=compiled)
            flops = model_flops(way, linear, attention)
            rows.append(row(way, found, checkpointing, compiled, flops, peak))
            print(rows[-1], file=sys.stderr)
    encoding = encoded(TINY_VIDEO if tiny else VIDEO, device)
    rows.append({**dict.fromkeys(rows[0]), "what": "encoding the video (float32), apart", **(encoding or {})})
    size = "a toy model" if tiny else "Wan2.1-T2V-1.3B, 81 frames of 480x832"
    title = f"One clip's gradient, {size}, bfloat16, {name}"
    if tiny:
        show(title, rows)
    else:
        report("gpu", title, rows)
        print(*verdicts(rows), sep="\n")


def model_flops(way: str, linear: int, attention: int) -> int:
    """Operations that a way needs, by those of a forward pass; what checkpointing repeats is not counted.

    A linear layer's backward pass has one product of the forward's size for its input and one for its weight, that of
    attention has four (for V, the weights, Q and K) where the forward has two. So 3 (linear + attention) with weight
    gradients, and 2 linear + 3 attention without.
    """
    return (3 if way == "plain" else 2) * linear + 3 * attention


def measured(shape: Shape, way: str, device: str, *, checkpointing: bool, compiled: bool) -> Found | None:
    """Seconds a clip and peak bytes; None where it does not fit, or cannot be compiled."""
    try:
        passes = partial(Passes, shape, device=device, dtype=torch.bfloat16)
        found = timed(passes(checkpointing=checkpointing, compiled=compiled).way(way, 1), device)
    except torch.OutOfMemoryError:
        found = None
    except Exception as error:
        if not compiled:
            raise
        print(f"torch.compile cannot do {way}: {type(error).__name__}: {error}", file=sys.stderr)
        found = None
    release(device)
    return found


def release(device: str) -> None:
    """Gives back what the last model held: it and its hooks know one another."""
    torch.compiler.reset()
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def timed(work: Callable[[], object], device: str) -> Found:
    """The best of a few calls, after two to warm up, by the device's own clock; peak memory, the model's with it."""
    for _ in range(2):
        work()
    if not device.startswith("cuda"):
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return {"seconds": min(times), "peak GB": None}
    torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return {"seconds": min(times), "peak GB": torch.cuda.max_memory_allocated(device) / 1e9}


def encoded(size: tuple[int, ...], device: str) -> Found | None:
    """Encoding a video with Wan 2.1's autoencoder, random weights, in float32 as the product does; None: no memory."""
    small: dict[str, Any] = {"base_dim": 8} if device == "cpu" else {}
    try:
        with torch.device(device):
            autoencoder, video = AutoencoderKLWan(**small).eval(), torch.zeros(size)
        with torch.no_grad():
            return timed(lambda: autoencoder.encode(video).latent_dist.mode(), device)
    except torch.OutOfMemoryError:
        return None


def row(
    way: str, group: dict[str, Found | None], checkpointing: bool, compiled: bool, flops: int, peak: float | None
) -> dict[str, Any]:
    """One line of the table; `group` has what was found of the same mode so far, the floor first."""
    found, floor = group[way], group["floor"]
    seconds = found["seconds"] if found else None
    return {
        "what": _NAMES[way],
        "checkpointing": "on" if checkpointing else "off",
        "compiled": "yes" if compiled else "no",
        "seconds": seconds,
        "peak GB": found["peak GB"] if found else None,
        "over the floor %": 100 * (1 - floor["seconds"] / seconds) if seconds and floor and way != "floor" else None,
        "TFLOP": flops / 1e12,
        "% of the peak": 100 * flops / seconds / peak / 1e12 if seconds and peak else None,
        "runs": "yes" if found else "no",
    }


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """The goals, for the fastest way that fits."""
    ours = [row for row in rows if row["what"] == _NAMES["ours"] and row["seconds"] is not None]
    if not ours:
        return ["nothing fits on this device"]
    best = min(ours, key=lambda row: row["seconds"])
    mode = f"checkpointing {best['checkpointing']}, compiled {best['compiled']}"
    lines = [f"ours at its fastest ({mode}): {best['seconds']:.2f} s a clip (goal on an H100: {SECONDS_GOAL:g} s)"]
    if (share := best["over the floor %"]) is not None:
        lines.append(f"of it projection: {share:.1f} % (goal: under {PROJECTION_GOAL:g} %)")
    return lines


if __name__ == "__main__":
    main()
