"""An opened file: its one video stream, when its frames are shown, and the frames themselves."""

import heapq
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from attribution.video.container import missing_end
from attribution.video.limits import VideoError, VideoLimits

# Self-contained containers only: a playlist (HLS, DASH, concat) would make FFmpeg open other files and URLs.
DEMUXERS = "mov,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,ivf,nut,yuv4mpegpipe"
# FFmpeg's own VP8 and VP9 decoders drop the alpha channel; those of libvpx keep it.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
FETCH_AGAIN = "Copy, download or export it again."


@dataclass(frozen=True)
class Span:
    """When the first and the last frame are shown, in seconds of the stream's own clock."""

    first: float
    last: float


class VideoSource:
    """The first video stream of an opened file (cover art does not count, nor does sound).

    Attributes:
        name: the file's name, for messages.
        codec: FFmpeg's name of the codec, such as "h264".
        container: FFmpeg's name of the container, such as "matroska,webm".
        pixel_aspect: width of a stored pixel over its height.
    """

    def __init__(self, name: str, container: Any, stream: Any, limits: VideoLimits) -> None:
        self.name = name
        self.codec: str = stream.codec_context.codec.canonical_name
        self.container: str = container.format.name
        self.pixel_aspect: Fraction = stream.sample_aspect_ratio or Fraction(1)
        self._container = container
        self._stream = stream
        self._limits = limits
        limits.check_picture(name, stream.codec_context.width, stream.codec_context.height)

    def span(self) -> Span | None:
        """Read when the first and the last frame are shown off the packets, decoding nothing.

        Almost always what decoding finds (packets that an edit list hides are left out), yet only a forecast:
        the container may be wrong. None when its packets carry no times. Leaves the source at its end.

        Raises:
            VideoError: damaged, truncated, too_many_frames or too_long.
        """
        clock = float(self._stream.time_base or 0)
        first = last = None
        end, packets = 0.0, 0
        for packet in self._packets():
            if packet.is_discard:
                continue
            packets += 1
            self._limits.check_frames(self.name, packets)
            if packet.pts is None:
                continue
            time = packet.pts * clock
            first = time if first is None else min(first, time)
            last = time if last is None else max(last, time)
            end = max(end, time + (packet.duration or 0) * clock)
            self._limits.check_seconds(self.name, last - first)
        if first is None or last is None:
            return None
        self._check_length(max(end, end - first), (self._stream.duration or 0) * clock)
        return Span(first, last)

    def seek(self, time: float) -> None:
        """Go to the last key frame at or before ``time`` (seconds), where the container can do that."""
        try:
            self._container.seek(int(time / self._stream.time_base), stream=self._stream)
        except av.FFmpegError:  # some containers have no index
            return

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Decode from here on: (time shown in seconds, never falling; ``av.VideoFrame``), in display order.

        Raises:
            VideoError: damaged (the decoder fails after the first frame; packets that it refuses before, as
                at the start of a stream cut between key frames, are passed over), no_frames,
                picture_too_large, too_many_frames or too_long.
        """
        decoder, clock = self._decoder(), self._stream.time_base
        step = float(1 / self._stream.guessed_rate) if self._stream.guessed_rate else 0.0
        first = last = None
        count = 0
        stored: list[int] = []  # heap of the times of the packets in the decoder
        for packet in self._packets(flush=True):
            try:
                frames = decoder.decode(packet)
            except MemoryError:
                raise  # too little memory is not the file's fault: others pass it on as well
            except av.FFmpegError as error:
                if count:
                    raise self._undecodable(packet, count, error) from error
                continue
            if packet.pts is not None:
                heapq.heappush(stored, packet.pts)
            for frame in frames:
                # AVI knows no display times: its packets carry the right times, in the order of decoding.
                pts = heapq.heappop(stored) if self.container == "avi" and stored else frame.pts
                time = (last or 0.0) + step if pts is None else float(pts * clock)
                last = time if last is None else max(last, time)
                first = last if first is None else first
                count += 1
                self._limits.check_frames(self.name, count)
                self._limits.check_seconds(self.name, last - first)
                self._limits.check_picture(self.name, frame.width, frame.height)
                yield last, frame
        if not count:
            raise VideoError(
                "no_frames",
                f"No frame of {self.name} can be decoded: its {self.codec} video is empty or damaged. {FETCH_AGAIN}",
            )

    def _undecodable(self, packet: Any, count: int, error: Any) -> VideoError:
        """The error for a packet that fails after ``count`` frames: cut off if it is the last in the file."""
        if packet.size and packet.pos is not None and packet.pos + packet.size >= self._container.size:
            return VideoError(
                "truncated", f"{self.name} is cut off: its frame {count + 1:,} is not complete. {FETCH_AGAIN}"
            )
        return VideoError(
            "damaged",
            f"{self.name} is damaged: its {self.codec} video cannot be decoded beyond frame {count:,} "
            f"({error.strerror}). {FETCH_AGAIN}",
        )

    def _packets(self, flush: bool = False) -> Iterator[Any]:
        """Packets of the stream; with ``flush`` also the empty one that draws the decoder's last frames.

        Other empty packets ("nothing new" in AVI) are left out: a decoder would take them for the end.
        """
        try:
            for packet in self._container.demux(self._stream):
                if packet.size or (flush and packet.dts is None):
                    yield packet
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise VideoError(
                "damaged",
                f"{self.name} is damaged: reading its {self.container} container fails ({error.strerror}). "
                f"{FETCH_AGAIN}",
            ) from error

    def _decoder(self) -> Any:
        context = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") == "1" and self.codec in ALPHA_DECODERS:
            context = av.CodecContext.create(ALPHA_DECODERS[self.codec], "r")
        # A stream may grow in mid-file: the decoder itself has to refuse before it allocates.
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        context.thread_count = 1  # clips are decoded side by side in processes
        return context

    def _check_length(self, seconds: float, declared: float) -> None:
        """Compare where the packets end with the duration that the header states (0: it states none)."""
        if declared - seconds > max(0.5, 0.1 * declared):
            raise VideoError(
                "truncated",
                f"{self.name} is cut off: it says that it lasts {declared:.1f} s, and its video ends after "
                f"{seconds:.1f} s. {FETCH_AGAIN}",
            )


@contextmanager
def open_source(path: Path, limits: VideoLimits) -> Iterator[VideoSource]:
    """Open ``path`` for decoding.

    Raises:
        VideoError: missing_file, not_a_file, unreadable, empty_file, file_too_large, truncated, not_a_video,
            no_video_stream, unsupported_codec or picture_too_large.
    """
    name = path.name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("not_a_file", f"{path} is not a file. Name a video file.")
        limits.check_bytes(name, status.st_size)
        cut = missing_end(path)
    except FileNotFoundError as error:
        raise VideoError("missing_file", f"There is no file {path}. Check the path.") from error
    except OSError as error:
        raise VideoError("unreadable", f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if cut:
        raise VideoError("truncated", f"{name} is cut off: {cut}. {FETCH_AGAIN}")
    try:
        container = av.open(
            str(path.absolute()),  # absolute, so that a file named like a URL stays a file
            options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except MemoryError:
        raise
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            "not_a_video",
            f"{name} is not a video, or not of a kind that is read here (MP4, MOV, WebM, MKV, AVI, GIF, "
            "MPEG, FLV, Ogg, WMV). Check that it plays; convert it to MP4 if it does.",
        ) from error
    with container:
        yield VideoSource(name, container, _first_video(name, container), limits)


def _first_video(name: str, container: Any) -> Any:
    """The first video stream that is no cover picture and that can be decoded."""
    cover_art = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & cover_art]
    if not streams:
        raise VideoError(
            "no_video_stream",
            f"{name} has no video in it, only sound, text or a cover picture. Choose a video file.",
        )
    if streams[0].codec_context is None:
        raise VideoError(
            "unsupported_codec",
            f"The video in {name} is compressed in a way that is not read here. Convert it to H.264 in MP4.",
        )
    return streams[0]
