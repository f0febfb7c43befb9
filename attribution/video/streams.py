"""Which of a file's streams is the clip, and its packets."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import av
from av.stream import Disposition

from motiontrace.attribution.video.limits import FETCH_AGAIN, VideoError, enough_memory

COVER_ART = Disposition.attached_pic | Disposition.timed_thumbnails


def clip_stream(name: str, container: Any) -> int:
    """The index of the first video stream that can be decoded and has more than one picture, else of the first.

    Cover pictures do not count, nor does a still beside the video: animated AVIF has one. The container may be left at
    any position.

    Raises:
        VideoError: no_video_stream, unsupported_codec or damaged.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & COVER_ART]
    if not streams:
        raise VideoError(
            "no_video_stream",
            f"{name} has no video in it, only sound, text or a cover picture. Choose a video file.",
        )
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(
            "unsupported_codec",
            f"The video in {name} is compressed in a way that is not read here. Convert it to H.264 in MP4.",
        )
    pictures: Counter[int] = Counter()
    if len(known) > 1:
        for packet in read_packets(name, container, known):
            pictures[packet.stream_index] += packet.size > 0
            if pictures[known[0].index] > 1:
                break
    moving = [stream for stream in known if pictures[stream.index] > 1]
    index: int = (moving or known)[0].index
    return index


def read_packets(name: str, container: Any, streams: Any) -> Iterator[Any]:
    """The packets of a stream, or of a list of streams, in the order of the file, empty ones too.

    Raises:
        VideoError: damaged, the container cannot be read on.
    """
    try:
        with enough_memory(name, container.size):
            yield from container.demux(streams)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise VideoError(
            "damaged",
            f"{name} is damaged: reading its {container.format.name} container fails ({error.strerror}). {FETCH_AGAIN}",
        ) from error
