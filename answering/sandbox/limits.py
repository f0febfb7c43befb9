"""What decoding a video may cost, and the error for a decoder that did not survive it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from motiontrace.attribution.video import VideoLimits

if TYPE_CHECKING:
    from motiontrace.answering.settings import AnsweringSettings

DecoderErrorCode = Literal["decoder_crashed", "decoder_out_of_memory", "decoder_timeout", "decoder_closed"]


class DecoderError(Exception):
    """The process that decoded a video did not finish; the file may be to blame or not.

    Attributes:
        code: a stable word for programs (`DecoderErrorCode`); decoder_closed is the service's own doing.
        message: what happened and what to do, in a sentence or two for people; also `str()`.
    """

    def __init__(self, code: DecoderErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code: DecoderErrorCode = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class DecoderLimits:
    """What one video may cost.

    Attributes:
        video: which uploads are refused before they are decoded.
        memory_bytes: memory that decoding may take beside the libraries'.
        cpu_seconds: processor time, whole seconds, >= 1.
        wall_seconds: time on the clock, > 0.
    """

    video: VideoLimits
    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float


def decoder_limits(settings: AnsweringSettings) -> DecoderLimits:
    """The limits that the settings name."""
    return DecoderLimits(
        video=VideoLimits(
            max_bytes=settings.max_upload_bytes,
            max_pixels=settings.max_video_pixels,
            max_frames=settings.max_video_frames,
            max_seconds=settings.max_video_seconds,
        ),
        memory_bytes=settings.decoder_memory_bytes,
        cpu_seconds=settings.decoder_cpu_seconds,
        wall_seconds=2.0 * settings.decoder_cpu_seconds,  # a busy machine and a slow disk are not the video's fault
    )
