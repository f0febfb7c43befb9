"""The sampling rule: which frames of a clip stand for it.

A clip is sampled by its presentation times, so that variable frame rates, edit lists and any container give the same
answer. `frames` instants are chosen. At each, the frame shown then is taken: the latest one whose time is not after the
instant (plus `Span.rounding`, by which times may be off).

- without `fps`: the instants are spread evenly from the first frame's time to the last frame's;
- with `fps`: they follow each other at that rate from the first frame on; a clip too short for that is
  spread over its whole length as above.

A clip with fewer frames than instants repeats some. Only one full-size frame is in memory at a time. So the clip's span
is first read from the packets. If decoding finds another span, the clip is decoded again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from motiontrace.attribution.video.limits import VideoLimits
from motiontrace.attribution.video.picture import Orientation, cover, displayed_size
from motiontrace.attribution.video.source import Span, open_source


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        width, height: pixels as displayed: square, and turned upright.
        frames: frames actually decoded.
        seconds: from the first frame's time to the end of the last.
        fps: average frames a second; 0 when a single frame has no duration.
        codec, container: FFmpeg's names, such as "h264" and "matroska,webm".
        rotation: clockwise degrees by which a player turns the stored picture: 0, 90, 180 or 270.
        damaged_frames: pictures in the file that decoding did not give, or that the decoder marks as corrupt.
        time_jumps: how often the file's clock starts again, leaps or stands; the times were made continuous.
    """

    width: int
    height: int
    frames: int
    seconds: float
    fps: float
    codec: str
    container: str
    rotation: int
    damaged_frames: int = 0
    time_jumps: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings about the file, each to be read after the file's name; usually none."""
        said = []
        if self.damaged_frames:
            pictures = "1 picture is" if self.damaged_frames == 1 else f"{self.damaged_frames:,} pictures are"
            said.append(f"is damaged in part: {pictures} missing or not right; {self.frames:,} were decoded")
        if self.time_jumps:
            times = "once" if self.time_jumps == 1 else f"{self.time_jumps:,} times"
            said.append(
                f"has a clock that starts again, leaps or stands {times}: time goes on behind the picture before"
            )
        return tuple(said)


@dataclass(frozen=True)
class DecodedVideo:
    """A clip at the size and length asked for.

    Attributes:
        frames: uint8 [F, height, width, 3] RGB.
        source_index: for each of the F frames, the index (from 0) of the decoded frame behind it.
        info: what the file holds.
    """

    frames: NDArray[np.uint8]
    source_index: tuple[int, ...]
    info: VideoInfo


class VideoReader(Protocol):
    """How a clip is decoded: `read_video`, or another function that gives the same frames and errors."""

    def __call__(self, path: Path, *, frames: int, height: int, width: int, fps: float | None) -> DecodedVideo:
        """As `read_video`; raises VideoError."""
        ...


def inspect_video(path: Path | str, limits: VideoLimits = VideoLimits()) -> None:
    """Refuse a file that read_video would refuse, as far as that can be found without decoding it.

    Checks its kind, size, picture size, number of frames and length, and whether its end is missing.

    Raises:
        VideoError: the file cannot be used; the message says why and what to do.
    """
    with open_source(Path(path), limits) as source:
        source.span()


def read_video(
    path: Path | str,
    *,
    frames: int,
    height: int,
    width: int,
    fps: float | None = None,
    limits: VideoLimits = VideoLimits(),
) -> DecodedVideo:
    """Decode a clip to `frames` frames of `height` x `width` by the sampling rule of this module.

    Each frame is turned upright, cut in its middle to the shape asked for, and resized; transparency is laid
    over mid-grey. The first video stream with more than one picture counts, sound is never decoded.

    Args:
        path: a video file on this machine.
        frames: F >= 1.
        height: of the result, pixels, >= 1.
        width: of the result, pixels, >= 1.
        fps: instants a second, > 0; None spreads them over the whole clip.
        limits: what the file may cost.

    Raises:
        VideoError: the file cannot be used; the message says why and what to do.
        ValueError: an argument is out of range.
    """
    if frames < 1 or height < 1 or width < 1 or (fps is not None and fps <= 0):
        raise ValueError(f"frames={frames}, height={height}, width={width} and fps={fps} have to be positive.")
    path = Path(path)
    with open_source(path, limits) as source:
        forecast = source.span() or Span(0.0, 0.0)
    video, span = _decode_at(path, _instants(forecast, frames, fps), height, width, limits)
    if max(abs(span.first - forecast.first), abs(span.last - forecast.last)) > span.rounding:
        video, _ = _decode_at(path, _instants(span, frames, fps), height, width, limits)
    return video


def _instants(span: Span, frames: int, fps: float | None) -> NDArray[np.float64]:
    """The `frames` instants, in seconds, at which a clip is sampled, each later by `Span.rounding`."""
    if fps is not None:
        instants = span.first + np.arange(frames) / fps
        if instants[-1] <= span.last + span.rounding:
            return instants + span.rounding
    return np.linspace(span.first, span.last, frames) + span.rounding


def _decode_at(
    path: Path, instants: NDArray[np.float64], height: int, width: int, limits: VideoLimits
) -> tuple[DecodedVideo, Span]:
    """Decode the whole clip once and keep the frame shown at each instant; returns the decoded span too."""
    pictures = np.empty((len(instants), height, width, 3), dtype=np.uint8)
    source_index: list[int] = []
    with open_source(path, limits) as source:
        for index, (frame, time, until) in enumerate(shown(source.frames())):
            if index == 0:
                first, (shown_width, shown_height) = time, displayed_size(frame, source.pixel_aspect)
            taken = int(np.searchsorted(instants, until))
            if taken > len(source_index):
                picture = cover(frame, source.pixel_aspect, height=height, width=width)
                pictures[len(source_index) : taken] = picture
                source_index += [index] * (taken - len(source_index))
        seconds = time - first + (_duration(frame) or (time - first) / max(1, index))
        info = VideoInfo(
            width=shown_width,
            height=shown_height,
            frames=index + 1,
            seconds=seconds,
            fps=(index + 1) / seconds if seconds else 0.0,
            codec=source.codec,
            container=source.container,
            rotation=Orientation(frame).degrees,
            damaged_frames=source.tally.damaged,
            time_jumps=source.joints,
        )
    return DecodedVideo(pictures, tuple(source_index), info), Span(first, time)


def shown(frames: Iterator[tuple[float, Any]]) -> Iterator[tuple[Any, float, float]]:
    """Each frame with the time at which it appears and the time until which it stays (the last: for ever)."""
    time, frame = next(frames)
    for following, successor in frames:
        yield frame, time, following
        time, frame = following, successor
    yield frame, time, np.inf


def _duration(frame: Any) -> float:
    """Seconds for which the container says a frame is shown; 0 if it says nothing."""
    return float(frame.duration * frame.time_base) if frame.duration else 0.0
