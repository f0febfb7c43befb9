"""Limits on the video that is read, and the one error that says why a file was refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

VideoErrorCode = Literal[
    "missing_file",
    "not_a_file",
    "unreadable",
    "empty_file",
    "file_too_large",
    "not_a_video",
    "no_video_stream",
    "unsupported_codec",
    "truncated",
    "joined_files",
    "damaged",
    "no_frames",
    "picture_too_large",
    "too_many_frames",
    "too_long",
]


FETCH_AGAIN = "Copy, download or export it again."
SPARE_BYTES = 16 << 20  # beside a file's own size, for what FFmpeg keeps of it


class VideoError(ValueError):
    """A file that cannot be used as a clip.

    Attributes:
        code: a stable word for programs (`VideoErrorCode`).
        message: what is wrong with this file and what to do, in a sentence or two for people; also `str()`.
    """

    def __init__(self, code: VideoErrorCode, message: str) -> None:
        super().__init__(code, message)  # both in args, so that the error survives pickling between processes
        self.code: VideoErrorCode = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class VideoLimits:
    """The largest file and video that are read; every bound is inclusive.

    Attributes:
        max_bytes: size of the file, in bytes.
        max_side: longer side of a frame, in pixels.
        max_pixels: width times height of a frame, in pixels.
        max_frames: frames in the video stream.
        max_seconds: time from the first frame to the last, in seconds.
    """

    max_bytes: int = 2 * 1024**3
    max_side: int = 8192
    max_pixels: int = 36_000_000
    max_frames: int = 20_000
    max_seconds: float = 600.0

    def check_bytes(self, name: str, size: int) -> None:
        """Refuse an empty file and one larger than `max_bytes`; `name` is how messages call the file."""
        if size == 0:
            raise VideoError("empty_file", f"{name} is empty (0 bytes). Copy or upload the file again.")
        if size > self.max_bytes:
            raise VideoError(
                "file_too_large",
                f"{name} has {size:,} bytes; at most {self.max_bytes:,} are read. Cut or re-encode the clip.",
            )

    def check_picture(self, name: str, width: int, height: int) -> None:
        """Refuse frames of `width` x `height` pixels that are too large to decode safely."""
        if max(width, height) > self.max_side or width * height > self.max_pixels:
            raise VideoError(
                "picture_too_large",
                f"{name} has frames of {width:,} x {height:,} pixels; at most {self.max_side:,} a side and "
                f"{self.max_pixels:,} in all are read. Scale the video down.",
            )

    def check_frames(self, name: str, frames: int) -> None:
        """Refuse a stream of at least `frames` frames when that is more than `max_frames`."""
        if frames > self.max_frames:
            raise VideoError(
                "too_many_frames",
                f"{name} has more than {self.max_frames:,} frames, the most that are read. Cut it into shorter clips.",
            )

    def check_seconds(self, name: str, seconds: float) -> None:
        """Refuse a stream that lasts `seconds` when that is longer than `max_seconds`."""
        if seconds > self.max_seconds:
            raise VideoError(
                "too_long",
                f"{name} lasts {seconds:,.0f} seconds or longer; at most {self.max_seconds:,.0f} are read. "
                "Cut it into shorter clips.",
            )


@contextmanager
def enough_memory(name: str, size: int) -> Iterator[None]:
    """Distinguish a file that asks for more memory than its `size` in bytes can need from a machine short of memory.

    Raises:
        VideoError: damaged, in place of a MemoryError where there is memory for a whole file of that size.
    """
    try:
        yield
    except MemoryError as error:
        try:
            np.empty(size + SPARE_BYTES, np.uint8)
        except MemoryError:
            raise error from None
        raise VideoError(
            "damaged", f"{name} is damaged: its index asks for more memory than such a file can need. {FETCH_AGAIN}"
        ) from error
