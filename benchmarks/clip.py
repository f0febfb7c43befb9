"""One clip from file to motion gradient on the demo's checkpoint: seconds by stage."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import torch

from attribution.engine import load_engine, plan_recipe
from attribution.families import find_checkpoint
from benchmarks.report import report
from demo.corpus import CorpusSettings, write_corpus
from indexer.manifest import read_manifest
from motiontrace.commands.demo import CHECKPOINT


def main() -> None:
    """Every moving clip of a small corpus once; medians."""
    torch.set_num_threads(1)
    engine = load_engine(str(CHECKPOINT), plan_recipe(find_checkpoint(str(CHECKPOINT)), {}), device="cpu")
    stages: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for row in read_manifest(write_corpus(Path(folder), CorpusSettings(clips_per_motion=2, heldout_per_motion=0))):
            outcome = engine.compute(row.video, row.caption)
            if outcome.vector is not None:
                for stage, seconds in outcome.seconds.items():
                    stages[stage].append(seconds)
    rows = [{"stage": stage, "median ms": 1000 * median(seconds)} for stage, seconds in stages.items()]
    rows.append({"stage": "all", "median ms": sum(row["median ms"] for row in rows)})
    report("clip", "One clip of the demo (13 frames of 32x32, 4 million parameters), one thread", rows)


if __name__ == "__main__":
    main()
