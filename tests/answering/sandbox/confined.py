"""Decoders of tests' own, and what runs in them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from motiontrace.answering.sandbox import Decoder, DecoderError, DecoderLimits
from motiontrace.answering.sandbox.confinement import missing
from motiontrace.answering.sandbox.sandbox import Sandbox
from motiontrace.attribution.video import VideoLimits
from tests.service.asking import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY = 256 << 20
SIZE: dict[str, Any] = {"frames": 8, "height": 48, "width": 80}
needs_confinement = pytest.mark.skipif(bool(missing()), reason=f"this machine has not {' and '.join(missing())}")


@contextmanager
def decoding(video: VideoLimits = VideoLimits(), **limits: Any) -> Iterator[Decoder]:
    given = {"memory_bytes": MEMORY, "cpu_seconds": 20, "wall_seconds": 60.0} | limits
    decoder = Decoder(DecoderLimits(video, **given))
    try:
        yield decoder
    finally:
        decoder.close()


@contextmanager
def confining(**limits: Any) -> Iterator[Sandbox]:
    sandbox = Sandbox(**({"memory_bytes": MEMORY, "cpu_seconds": 20, "wall_seconds": 60.0} | limits))
    try:
        yield sandbox
    finally:
        sandbox.close()


def forkserver() -> psutil.Process:
    """The only one of a test's own sandbox; those of the module's fixtures are older."""
    servers = [each for each in psutil.Process().children() if "forkserver" in " ".join(each.cmdline())]
    return max(servers, key=psutil.Process.create_time)


def running_child(server: psutil.Process) -> psutil.Process:
    until(lambda: server.children())
    return server.children()[0]


def refusal(*, sandbox: Sandbox, path: Path, function: Any, **arguments: Any) -> DecoderError:
    with pytest.raises(DecoderError) as caught:
        sandbox.call(function, path, **arguments)
    return caught.value
