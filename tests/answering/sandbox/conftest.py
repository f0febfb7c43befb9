"""Decoders and clips that the tests of a module share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from tests.answering.sandbox.confined import confining, decoding
from tests.attribution import videos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from motiontrace.answering.sandbox import Decoder
    from motiontrace.answering.sandbox.sandbox import Sandbox


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with decoding() as decoder:
        yield decoder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with confining() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in each container, one of them with sound and subtitles, one turned."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8))
    for suffix in videos.CODECS:
        videos.write_video(folder / f"clip{suffix}", pictures)
    for codec in ("libsvtav1", "mpeg2video", "ffv1"):
        videos.write_video(folder / f"{codec}.mkv", [np.repeat(each, 2, 1) for each in pictures], codec=codec)
    videos.write_gif(folder / "clip.gif", [picture[..., 0] > 127 for picture in pictures], (255, 255, 255))
    with av.open(str(folder / "sound.mkv"), "w") as output:
        stream = videos.add_stream(output, "libx264", pictures)
        sound = output.add_stream("aac", rate=44100)
        videos.encode(output, stream, pictures)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        output.mux([*sound.encode(frame), *sound.encode(None)])
    return folder


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return folder / "clip.mp4"
