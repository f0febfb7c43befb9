"""An indexing run that is killed, and started again."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

from tests.indexer.runs import entries, vectors, write_manifest
from tests.videos import moving_square


def test_killed_runs_end_in_the_index_of_an_undisturbed_one(tmp_path, engine, model):
    """SIGKILL at random moments: no clip lost, none doubled, vectors equal byte for byte, and files too."""
    kills = int(os.environ.get("MOTIONTRACE_TEST_KILLS", "2"))
    folder, names = tmp_path / "clips", []
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        dx, dy = rng.uniform(-3, 3, 2)
        names.append(f"clip-{number:02d}")
        moving_square(folder / f"{names[-1]}.mp4", dx, dy)
    write_manifest(folder, names)
    script = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from attribution.engine import load_engine, plan_recipe; from attribution.families import find_checkpoint\n"
        "from tests.indexer.runs import run\n"
        "model, home, folder = sys.argv[1:]\n"
        "engine = load_engine(model, plan_recipe(find_checkpoint(model), {}), device='cpu')\n"
        "print('ready', flush=True)\n"
        "run(Path(home), Path(folder), engine, publish_clips=3)\n"
    )

    def start(home):
        arguments = [sys.executable, "-c", script, str(model), str(home), str(folder)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout.readline() == b"ready\n"
        return process

    undisturbed = start(tmp_path / "undisturbed")
    began = time.monotonic()
    assert undisturbed.wait(300) == 0
    lasted = time.monotonic() - began
    undisturbed.stdout.close()
    moment = random.Random(5)
    killed = 0
    for _ in range(kills):
        process = start(tmp_path / "killed")
        time.sleep(moment.uniform(0.05, 0.9) * lasted)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    last = start(tmp_path / "killed")
    assert last.wait(300) == 0
    last.stdout.close()
    assert killed
    assert vectors(tmp_path / "killed", engine) == vectors(tmp_path / "undisturbed", engine)
    files = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / home / "indexes/test").glob("*.segment"))}
        for home in ("killed", "undisturbed")
    ]
    assert files[0] == files[1]
    assert {e.outcome for e in entries(tmp_path / "killed").values()} == {"indexed"}
