"""Real video files for the tests, written with PyAV."""

import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from motiontrace.attribution.video import DecodedVideo, read_video

Pictures = Sequence[NDArray[np.uint8]]
CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4"}


def write_video(
    path: Path,
    pictures: Pictures,
    *,
    codec: str = "",
    rate: int = 16,
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    prepare: Callable[[Any], object] = lambda stream: None,
) -> Path:
    """Encode uint8 [H, W, 3] RGB or [H, W, 4] RGBA pictures at `rate` a second, or at `times` in seconds."""
    with av.open(str(path), "w", options=container or {}) as output:
        stream = add_stream(output, codec or CODECS[path.suffix], pictures, pixels, rate, options)
        prepare(stream)
        encode(output, stream, pictures, times)
    return path


def add_stream(
    output: Any,
    codec: str,
    pictures: Pictures,
    pixels: str = "yuv420p",
    rate: int = 16,
    options: dict[str, str] | None = None,
) -> Any:
    """A video stream made for such pictures, in an open container."""
    stream = output.add_stream(codec, rate=rate, options=options or {})
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = pixels
    return stream


def encode(output: Any, stream: Any, pictures: Pictures, times: Sequence[float] | None = None) -> None:
    """Encode pictures into a stream of an open container."""
    if times is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, "rgba" if picture.shape[2] == 4 else "rgb24")
        if times is not None:
            frame.pts, frame.time_base = round(times[index] * 1000), Fraction(1, 1000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
    if stream.codec.name == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # As root it makes the calling process a real-time one, which takes the processors from all others.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def write_gif(path: Path, masks: Sequence[NDArray[np.bool_]], colour: tuple[int, int, int]) -> Path:
    """A GIF that shows `colour` where a mask [H, W] is set and is transparent elsewhere."""
    palette = np.zeros((256, 4), np.uint8)  # ARGB
    palette[1] = (255, *colour)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("gif", rate=10)
        stream.height, stream.width = masks[0].shape
        stream.pix_fmt = "pal8"
        for mask in masks:
            output.mux(stream.encode(av.VideoFrame.from_ndarray((mask.astype(np.uint8), palette), "pal8")))
        output.mux(stream.encode(None))
    return path


def counted(frames: int, side: int = 64) -> list[NDArray[np.uint8]]:
    """Plain grey pictures whose level tells which they are, see `numbers`."""
    return [np.full((side, side, 3), 16 + 6 * index, np.uint8) for index in range(frames)]


def numbers(frames: NDArray[np.uint8]) -> tuple[int, ...]:
    """Which of the `counted` pictures decoded frames [F, H, W, 3] show."""
    return tuple(round((float(frame.mean()) - 16) / 6) for frame in frames)


def still(path: Path, picture: NDArray[np.uint8], *, frames: int = 30, noise: float = 0.0, **settings: Any) -> Path:
    """One picture again and again, each time with fresh sensor noise of that many grey levels."""
    rng = np.random.default_rng(0)
    noisy = [np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8) for _ in range(frames)]
    return write_video(path, noisy, **settings)


def read(path: Path, frames: int = 5, side: int = 32, **settings: Any) -> DecodedVideo:
    """Read a file small."""
    return read_video(path, frames=frames, height=side, width=side, **settings)


def remux(
    source: Path, path: Path, change: Callable[[int, Any], Iterable[Any]], options: dict[str, str] | None = None
) -> Path:
    """Copy a file's one stream into another container; `change` gives what to write for packet number n."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(each for each in old.demux(video=0) if each.size):
            for written in change(number, packet):
                written.stream = stream
                new.mux(written)
    return path


def packet_like(packet: Any, content: bytes, later: int = 0) -> Any:
    """A packet of other content, `later` ticks behind another one."""
    made = av.Packet(content)
    made.pts, made.dts, made.time_base = packet.pts + later, packet.dts + later, packet.time_base
    made.duration = packet.duration
    return made


def broken(source: Path, path: Path, numbers: Iterable[int]) -> Path:
    """A copy of a file whose packets of these numbers hold zeros."""
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(source.read_bytes())
    for number in numbers:
        start, size = places[number]
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return path


def picture_number(jpeg: bytes) -> int:
    """Which of the `counted` pictures a still shows."""
    return numbers(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[None])[0]
