"""One clip's gradient on a Wan-shaped transformer of 115 million parameters: CPU seconds and memory on one thread.

Ours beside a plain backward pass that holds every weight's gradient and then sketches them, and beside the floor: the
same forward and backward passes through the activations alone. Each in a process of its own; memory is the most that
was resident, less what was resident when the model had been built.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
import torch

from benchmarks.passes import Passes, Shape
from benchmarks.report import report
from motiontrace.attribution.engine import load_engine, plan_recipe
from motiontrace.attribution.families import find_checkpoint
from motiontrace.commands.demo import CHECKPOINT
from motiontrace.demo.corpus import CorpusSettings, write_corpus
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPE = Shape(
    heads=8, head_dim=128, ffn_dim=5888, layers=5, text_dim=4096, freq_dim=256, latent=(16, 4, 32, 32), text_tokens=512
)
REPEATS = 3
TIME_GOAL, MEMORY_GOAL = 0.75, 1.05
_VARIANTS = [("plain", 1), ("floor", 1), ("bare", 1), ("ours", 1), ("floor", 4), ("ours", 4)]
_COMPILED = [("plain", 1), ("floor", 1), ("ours", 1)]
_NAMES = {
    "plain": "(a) weight gradients, then projected",
    "floor": "forward and activation backward alone",
    "bare": "the same without the modulation by time",
    "ours": "(b) ours",
}
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """The comparison, its goals, and a clip of the demo by stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.measure:
        print(json.dumps(measure(**json.loads(chosen.measure))))
        return
    rows = []
    for compiled in (False, True) if shutil.which("g++") else (False,):
        for checkpointing in (False,) if compiled else (False, True):
            group = {
                variant: _measured(*variant, checkpointing=checkpointing, compiled=compiled)
                for variant in (_COMPILED if compiled else _VARIANTS)
            }
            rows += [_row(variant, group, checkpointing, compiled) for variant in group]
    report("clip", "One clip's gradient, Wan-shaped transformer of 115 million parameters, float32, one thread", rows)
    print(*verdicts(rows), sep="\n")
    stages()


def measure(way: str, batch: int, checkpointing: bool, compiled: bool, repeats: int = REPEATS) -> dict[str, float]:
    """CPU seconds a clip, the best of some passes after the first, and peak bytes; once in a process."""
    passes = Passes(SHAPE, checkpointing=checkpointing, compiled=compiled)
    work = passes.way(way, batch)
    resident = psutil.Process().memory_info().rss
    begun = time.perf_counter()
    for _ in range(2 if compiled else 1):  # what is learned in the first pass is compiled in the second
        work()
    first = time.perf_counter() - begun  # by the wall: compilers work in processes of their own
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - resident
    return {"seconds": min(times) / batch, "first": first, "bytes": peak}


def _measured(way: str, batch: int, *, checkpointing: bool, compiled: bool) -> dict[str, float]:
    """`measure` in processes of their own: one for time, one for memory."""
    asked = {"way": way, "batch": batch, "checkpointing": checkpointing, "compiled": compiled}
    # What compiling takes, whoever did it before; and for memory, every large tensor given back to the system when it
    # is freed (glibc keeps and splits them, so that the heap's holes would be counted).
    fresh, tight = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}, {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    found = _child(asked | {"repeats": REPEATS if batch == 1 else 1}, fresh)
    found["bytes"] = _child(asked | {"repeats": 1}, tight)["bytes"]
    print(asked, found, file=sys.stderr)
    return found


def _child(asked: dict[str, Any], variables: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.clip", "--measure", json.dumps(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _row(
    variant: tuple[str, int], group: dict[tuple[str, int], dict[str, float]], checkpointing: bool, compiled: bool
) -> Row:
    way, batch = variant
    found, plain, floor = group[variant], group["plain", 1], group["floor", batch]
    return {
        "what": _NAMES[way],
        "batch": batch,
        "checkpointing": "on" if checkpointing else "off",
        "compiled": "yes" if compiled else "no",
        "CPU s a clip": found["seconds"],
        "of (a)": found["seconds"] / plain["seconds"],
        "of the floor": found["seconds"] / floor["seconds"],
        "peak MB": found["bytes"] / 1e6,
        "memory of (a)": found["bytes"] / plain["bytes"] if batch == 1 else None,
        "memory of the floor": found["bytes"] / floor["bytes"],
        "warming up, wall s": found["first"],
    }


def verdicts(rows: list[Row]) -> list[str]:
    """The goals, and whether they are met, for ours uncompiled."""
    ours = [row for row in rows if row["what"] == _NAMES["ours"] and row["compiled"] == "no"]
    lines = []
    for row in ours:
        fast, small = row["of (a)"] <= TIME_GOAL, row["memory of the floor"] <= MEMORY_GOAL
        lines.append(
            f"batch {row['batch']}, checkpointing {row['checkpointing']}: at most {TIME_GOAL} of the time of (a):"
            f" {'met' if fast else 'MISSED'} ({row['of (a)']:.3f}); at most {MEMORY_GOAL} of the floor's memory:"
            f" {'met' if small else 'MISSED'} ({row['memory of the floor']:.3f})"
        )
    return lines


def stages() -> None:
    """Every moving clip of a small corpus once, on the demo's checkpoint; medians."""
    engine = load_engine(
        str(CHECKPOINT), plan_recipe(find_checkpoint(str(CHECKPOINT)), {}, preset="paper"), device="cpu"
    )
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for row in read_manifest(write_corpus(Path(folder), CorpusSettings(clips_per_motion=2, heldout_per_motion=0))):
            outcome = engine.compute(row.video, row.caption)
            if outcome.vector is not None:
                for stage, seconds in outcome.seconds.items():
                    found[stage].append(seconds)
    rows: list[Row] = [{"stage": stage, "median ms": 1000 * median(seconds)} for stage, seconds in found.items()]
    rows.append({"stage": "all", "median ms": sum(row["median ms"] for row in rows)})
    report("clip-stages", "One clip of the demo (13 frames of 32x32, 4 million parameters), one at a time", rows)


if __name__ == "__main__":
    main()
