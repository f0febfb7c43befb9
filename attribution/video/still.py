"""One picture that stands for a clip."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motiontrace.attribution.opencv import cv2
from motiontrace.attribution.video.limits import VideoError, VideoLimits
from motiontrace.attribution.video.picture import cover, displayed_size
from motiontrace.attribution.video.reading import shown
from motiontrace.attribution.video.source import Span, VideoSource, open_source

JPEG_QUALITY = 85


def thumbnail(path: Path | str, *, side: int = 256, limits: VideoLimits = VideoLimits()) -> bytes:
    """Picture the middle of a clip.

    Args:
        path: a video file on this machine.
        side: longer side of the picture in pixels; a smaller frame is not enlarged.
        limits: what the file may cost.

    Returns:
        JPEG bytes of the frame shown at half time, upright, whole.

    Raises:
        VideoError: the file cannot be used; the message says why and what to do.
    """
    path = Path(path)
    with open_source(path, limits) as source:
        span = source.span() or Span(0.0, 0.0)
        seekable = source.seekable
    middle = (span.first + span.last) / 2 + span.rounding
    picture = _after_seek(path, middle, side, limits) if seekable else None
    if picture is None:
        with open_source(path, limits) as source:
            picture, _ = _at(source, middle, side)
    _, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(jpeg)


def _after_seek(path: Path, middle: float, side: int, limits: VideoLimits) -> NDArray[np.uint8] | None:
    """The picture at a time, after a seek; None where the seek leads past it, or to damage.

    An index may be wrong. Some decoders need the first packet: H.264 in 4:4:4 of old x264 becomes green without it.
    """
    with open_source(path, limits) as source:
        source.seek(middle)
        try:
            picture, time = _at(source, middle, side)
        except VideoError:
            return None
    return None if time > middle or source.tally.refused or source.tally.impaired else picture


def _at(source: VideoSource, middle: float, side: int) -> tuple[NDArray[np.uint8], float]:
    """The frame shown at a time, else the first one after it, uint8 [H, W, 3] RGB, and when it appears."""
    frame, time, _ = next(found for found in shown(source.frames()) if found[2] > middle)
    width, height = displayed_size(frame, source.pixel_aspect)
    scale = min(1.0, side / max(width, height))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    return cover(frame, source.pixel_aspect, height=rows, width=columns), time
