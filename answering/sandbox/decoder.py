"""What `attribution/video/` does, for files that nobody vouches for: the same answers, from confined processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motiontrace.answering.sandbox import tasks
from motiontrace.answering.sandbox.limits import DecoderError, DecoderLimits
from motiontrace.answering.sandbox.sandbox import Sandbox
from motiontrace.attribution.video import DecodedVideo, VideoInfo, VideoLimits

if TYPE_CHECKING:
    from pathlib import Path

MOST_THUMBNAIL_BYTES = 1 << 20
JPEG = b"\xff\xd8\xff"

Count = Annotated[int, Field(ge=1, le=1 << 31)]
Name = Annotated[str, Field(pattern=r"\A[\w.,+-]{1,100}\z")]


class _Info(BaseModel):
    """VideoInfo, checked."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    width: Count
    height: Count
    frames: Count
    seconds: Annotated[float, Field(ge=0)]
    fps: Annotated[float, Field(ge=0)]
    codec: Name
    container: Name
    rotation: Annotated[int, Field(ge=0, le=270, multiple_of=90)]
    damaged_frames: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    time_jumps: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class _Read(BaseModel):
    """What tasks.read says of its frames."""

    model_config = ConfigDict(strict=True, extra="forbid")
    source_index: list[Annotated[int, Field(ge=0, le=1 << 31)]]
    info: _Info


class Decoder:
    """Decodes untrusted videos. Safe to share between threads; close it, or its process stays as long as this one.

    Every method raises VideoError for a file that cannot be used, as attribution.video does, and DecoderError where
    the process that decoded it did not finish, which costs this one call only.
    """

    def __init__(self, limits: DecoderLimits) -> None:
        self._limits = limits
        self._sandbox = Sandbox(
            memory_bytes=limits.memory_bytes, cpu_seconds=limits.cpu_seconds, wall_seconds=limits.wall_seconds
        )

    def inspect(self, path: Path) -> None:
        """Refuse the file if that can be told without decoding it; raises VideoError, DecoderError."""
        self._sandbox.call(tasks.inspect, path, limits=self._limits.video)

    def read(self, path: Path, *, frames: int, height: int, width: int, fps: float | None = None) -> DecodedVideo:
        """As read_video, under these limits; raises VideoError, DecoderError."""
        shape = (frames, height, width, 3)
        size = frames * height * width * 3
        result, pixels = self._sandbox.call(
            tasks.read,
            path,
            most_bytes=size,
            limits=self._limits.video,
            frames=frames,
            height=height,
            width=width,
            fps=fps,
        )
        try:
            found = _Read.model_validate(result)
        except ValidationError:
            _senseless(path)
        if len(pixels) != size or len(found.source_index) != frames:
            _senseless(path)
        return DecodedVideo(pixels.reshape(shape), tuple(found.source_index), VideoInfo(**found.info.model_dump()))

    def thumbnail(self, path: Path, *, side: int = 256) -> bytes:
        """As attribution.video.thumbnail; raises VideoError, DecoderError.

        Of clips that an index may hold, which can be longer than a query's: the indexer's limits hold for the file.
        """
        _, jpeg = self._sandbox.call(
            tasks.still, path, most_bytes=MOST_THUMBNAIL_BYTES, limits=VideoLimits(), side=side
        )
        picture = jpeg.tobytes()
        if not picture.startswith(JPEG):
            _senseless(path)
        return picture

    def close(self) -> None:
        """End its processes; calls under way and later ones raise DecoderError."""
        self._sandbox.close()


def _senseless(path: Path) -> NoReturn:
    raise DecoderError("decoder_crashed", f"The decoder broke down on {path.name}: its answer makes no sense.")
