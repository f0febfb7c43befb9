"""Clips on the disk while a folder for a tool is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from motiontrace.formats.folder import Clip, Clips


def test_clips_are_compressed_on_the_disk_and_gone_through_again_and_again() -> None:
    rng = np.random.default_rng(3)

    def made(number: int) -> Clip:
        sides = rng.random((50, 4)).round(4).tolist()
        keyframes = [
            {"time": at / 12, "x": x, "y": y, "width": width, "height": height, "visible": True}
            for at, (x, y, width, height) in enumerate(sides)
        ]
        return Clip({"id": f"é {number}", "boxes": [{"keyframes": keyframes}]}, f"e_{number}", "data/e.mp4", number)

    clips = [made(number) for number in range(200)]
    before = set(open_files())
    with Clips() as kept:
        assert list(kept) == []
        for clip in clips[:150]:
            kept.add(clip)
        assert list(kept) == clips[:150]
        for clip in clips[150:]:
            kept.add(clip)
        assert list(kept) == list(kept) == clips
        (file,) = set(open_files()) - before
        assert file.stat().st_size < sum(len(json.dumps(vars(clip))) for clip in clips) / 3
    assert set(open_files()) == before


def open_files() -> list[Path]:
    return [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]  # without the folder that was read
