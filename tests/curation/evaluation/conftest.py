"""A small model, and clips of two motions in two colours, some to train on and some held out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.checkpoints import tiny_wan
from tests.videos import moving_square

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = {"red": (220, 60, 40), "blue": (50, 80, 220)}
MOTIONS = {"right": (2.0, 0.0), "down": (0.0, 2.0)}


@pytest.fixture(scope="session")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of each motion, and one that cannot be read."""
    folder = _write(tmp_path_factory.mktemp("train"), 10)
    (folder / "broken.mp4").write_bytes(b"no video")
    with (folder / "metadata.jsonl").open("a", encoding="utf-8") as stream:
        broken = {"file_name": "broken.mp4", "caption": "nothing", "motion": "down", "colour": "red"}
        stream.write(json.dumps(broken) + "\n")
    return folder


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("held-out"), 2, slowest=1.05)


def _write(folder: Path, each: int, slowest: float = 1.0) -> Path:
    rows = []
    for motion, (dx, dy) in MOTIONS.items():
        for number in range(each):
            name, colour = f"{motion}-{number}.mp4", list(COLOURS)[number % 2]
            speed = slowest + 0.1 * number
            moving_square(folder / name, dx * speed, dy * speed, COLOURS[colour])
            rows.append(
                {"file_name": name, "caption": f"a {colour} square {motion}", "motion": motion, "colour": colour}
            )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
