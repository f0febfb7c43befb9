"""A small real model and a folder of small real clips."""

import numpy as np
import pytest

from tests.checkpoints import tiny_wan
from tests.indexer.runs import tiny_engine, write_manifest
from tests.videos import FRAMES, SIDE, moving_square, write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_wan(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(model):
    return tiny_engine(str(model))


@pytest.fixture
def clips(tmp_path):
    """A folder of four moving clips, a still one, a broken one and a missing one."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, (dx, dy) in {"right": (2, 0), "left": (-2, 0), "up": (0, -2), "down": (0, 2)}.items():
        moving_square(folder / f"{name}.mp4", dx, dy)
    write_video(folder / "still.mp4", np.full((FRAMES, SIDE, SIDE, 3), 90, dtype=np.uint8))
    (folder / "broken.mp4").write_text("no video")
    names = ["right", "left", "broken", "up", "still", "missing", "down"]
    write_manifest(folder, names)
    return folder
