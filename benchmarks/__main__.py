"""All of them, one after the other, each in a process of its own: python -m benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys

NAMES = ("projection", "clip", "gpu", "cogvideox", "search", "preconditioning", "selection", "service", "fidelity")

for name in NAMES:
    print(f"\n== benchmarks.{name} ==", flush=True)
    # Set here as well as by torch.set_num_threads: numpy's and scipy's threads ask the environment.
    environment = os.environ if name == "gpu" else {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, env=environment)
