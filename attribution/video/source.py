"""An opened file: its one video stream, when its frames are shown, and the frames themselves."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from motiontrace.attribution.video.clock import JoinedClock
from motiontrace.attribution.video.coding import holds_picture, is_shown
from motiontrace.attribution.video.container import Extent, check_container
from motiontrace.attribution.video.damage import Tally
from motiontrace.attribution.video.limits import FETCH_AGAIN, VideoError, VideoErrorCode, VideoLimits, enough_memory
from motiontrace.attribution.video.streams import clip_stream, read_packets
from motiontrace.files import FileError, FileProblem, check_file

# Self-contained containers only: a playlist (HLS, DASH, concat) would make FFmpeg open other files and URLs.
DEMUXERS = "mov,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,ivf,nut,yuv4mpegpipe"
# FFmpeg's own VP8 and VP9 decoders drop the alpha channel; those of libvpx keep it.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Containers with an index of key frames. In others a seek lands anywhere.
INDEXED = ("mov", "matroska")
USUAL_TICK = Fraction(1, 1000)  # seconds, where a container names none
FILE_CODES: dict[FileProblem, tuple[VideoErrorCode, str]] = {
    "missing": ("missing_file", "Check the path."),
    "folder": ("not_a_file", "Name a video file."),
    "not_a_file": ("not_a_file", "Name a video file."),
}


@dataclass(frozen=True)
class Span:
    """When the first and the last frame are shown, in seconds of the stream's own clock."""

    first: float
    last: float

    @property
    def rounding(self) -> float:
        """Seconds by which times may be off: a millisecond, as WebM rounds; less in a clip of less than ten."""
        return min(0.001, (self.last - self.first) / 10)


class VideoSource:
    """The one video stream of an opened file that is read; sound is ignored.

    Attributes:
        name: the file's name, for messages.
        codec: FFmpeg's name of the codec, such as "h264".
        container: FFmpeg's name of the container, such as "matroska,webm".
        pixel_aspect: width of a stored pixel over its height.
        tally: what decoding promised and gave so far.
    """

    def __init__(self, name: str, container: Any, stream: Any, limits: VideoLimits, extent: Extent) -> None:
        self.name = name
        self.codec: str = stream.codec_context.codec.canonical_name
        self.container: str = container.format.name
        self.pixel_aspect: Fraction = stream.sample_aspect_ratio or Fraction(1)
        self.tally = Tally(name, self.codec, broken=extent.broken)
        self._container = container
        self._stream = stream
        self._limits = limits
        self._whole = extent.whole
        self._tick = stream.time_base or USUAL_TICK
        self._clock = JoinedClock(
            self._tick, stream.guessed_rate, bool(container.format.flags & av.format.Flags.ts_discont.value)
        )
        limits.check_picture(name, stream.codec_context.width, stream.codec_context.height)

    @property
    def joints(self) -> int:
        """How often the clock has started again, leapt or stood so far."""
        return self._clock.joints

    @property
    def seekable(self) -> bool:
        """Whether `seek` can be relied on, judging by the packets read so far."""
        return self.container.startswith(INDEXED) and not self.joints

    def span(self) -> Span | None:
        """The times of the first and the last frame, from the packets, without decoding.

        Decoding almost always finds the same (packets that an edit list hides are left out). But it is a forecast: the
        container may be wrong. None when its packets carry no times. Leaves the source at its end.

        Raises:
            VideoError: damaged, truncated, too_many_frames or too_long.
        """
        tick = float(self._tick)
        first = last = None
        end, packets = 0.0, 0
        for packet in self._packets():
            if packet.is_discard:
                continue
            packets += 1
            self._limits.check_frames(self.name, packets)
            if packet.pts is None or not self._holds_picture(packet):
                continue
            time = packet.pts * tick
            first = time if first is None else min(first, time)
            last = time if last is None else max(last, time)
            end = max(end, time + (packet.duration or 0) * tick)
            self._limits.check_seconds(self.name, last - first)
        if first is None or last is None:
            return None
        if not self._whole and not self.joints:
            self._check_length(max(end, end - first), float((self._stream.duration or 0) * self._tick))
        return Span(first, last)

    def seek(self, time: float) -> None:
        """Go to the last key frame at or before `time` (seconds), where the container can do that."""
        try:
            self._container.seek(int(time / self._tick), stream=self._stream)
        except av.FFmpegError:  # some have no index after all
            return

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Decode from here on: (time shown in seconds, never falling; `av.VideoFrame`), in display order.

        Packets that the decoder refuses are skipped, as many as `Tally` allows. In a stream that starts between key
        frames, all packets before the first key frame may be skipped.

        Raises:
            VideoError: damaged (more is broken), truncated (the last packet of the file is not complete), no_frames,
                picture_too_large, too_many_frames or too_long.
        """
        decoder = self._decoder()
        step = float(1 / self._stream.guessed_rate) if self._stream.guessed_rate else 0.0
        first = last = None
        stored: list[int] = []  # heap of the times of the packets in the decoder
        for packet in self._packets(flush=True):
            frames = self._decode(decoder, packet)
            if frames is None:
                continue
            if packet.pts is not None:
                heapq.heappush(stored, packet.pts)
            for frame in frames:
                # AVI knows no display times: its packets carry the right times, in the order of decoding.
                pts = heapq.heappop(stored) if self.container == "avi" and stored else frame.pts
                time = (last or 0.0) + step if pts is None else float(pts * self._tick)
                last = time if last is None else max(last, time)
                first = last if first is None else first
                self.tally.gave(last, interlaced=frame.interlaced_frame, corrupt=frame.is_corrupt)
                self._limits.check_frames(self.name, self.tally.had)
                self._limits.check_seconds(self.name, last - first)
                self._limits.check_picture(self.name, frame.width, frame.height)
                yield last, frame
        self.tally.check()

    def _decode(self, decoder: Any, packet: Any) -> list[Any] | None:
        """The frames that a packet brings; None where the decoder refuses it."""
        picture = self._holds_picture(packet)
        try:
            frames: list[Any] = decoder.decode(packet)
        except MemoryError:
            raise  # too little memory is not the file's fault
        except av.FFmpegError as error:
            if picture and self.tally.had and self._ends_file(packet):
                raise VideoError(
                    "truncated",
                    f"{self.name} is cut off: its frame {self.tally.had + 1:,} is not complete. {FETCH_AGAIN}",
                ) from error
            if picture:
                self.tally.refuse(error.strerror, key_frame=packet.is_keyframe)
            return None
        self.tally.took(picture and self._shows_picture(packet))
        return frames

    def _holds_picture(self, packet: Any) -> bool:
        if not packet.size or packet.is_discard:
            return False
        return holds_picture(self.codec, self._stream.codec_context.extradata, memoryview(packet))

    def _shows_picture(self, packet: Any) -> bool:
        return self._holds_picture(packet) and is_shown(self.codec, memoryview(packet))

    def _ends_file(self, packet: Any) -> bool:
        """Whether a packet ends the file, where the container does not show that the file is whole."""
        return not self._whole and packet.pos is not None and packet.pos + packet.size >= self._container.size

    def _packets(self, flush: bool = False) -> Iterator[Any]:
        """Packets of the stream, on one clock; with `flush` also the empty one that releases the decoder's last frames.

        Other empty packets ("nothing new" in AVI) are left out: a decoder would take them for the end.
        """
        for packet in read_packets(self.name, self._container, self._stream):
            if packet.size or (flush and packet.dts is None):
                self._clock.move(packet, picture=self._shows_picture(packet))
                yield packet

    def _decoder(self) -> Any:
        context = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") == "1" and self.codec in ALPHA_DECODERS:
            context = av.CodecContext.create(ALPHA_DECODERS[self.codec], "r")
        # A stream's pictures may grow in mid-file: the decoder itself has to refuse them before it allocates memory.
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
    """Open `path` for decoding.

    Raises:
        VideoError: missing_file, not_a_file, unreadable, empty_file, file_too_large, truncated, joined_files, damaged,
            not_a_video, no_video_stream, unsupported_codec or picture_too_large.
    """
    name = path.name
    try:
        limits.check_bytes(name, check_file(path, empty=True).st_size)
        extent = check_container(path)
    except FileError as error:
        code, advice = FILE_CODES.get(error.code, ("unreadable", FETCH_AGAIN))
        raise VideoError(code, f"{error}. {advice}") from error
    except OSError as error:
        raise VideoError("unreadable", f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    with ExitStack() as opened:
        container = opened.enter_context(_opened(path, limits))
        index = clip_stream(name, container)
        if len(container.streams.video) > 1:  # it may have been read to choose among them
            container = opened.enter_context(_opened(path, limits))
        yield VideoSource(name, container, container.streams[index], limits, extent)


@contextmanager
def _opened(path: Path, limits: VideoLimits) -> Iterator[Any]:
    try:
        with enough_memory(path.name, path.stat().st_size):
            container = av.open(
                str(path.absolute()),  # absolute, so that a file named like a URL stays a file
                options={
                    "format_whitelist": DEMUXERS,
                    "protocol_whitelist": "file",
                    "max_pixels": str(limits.max_pixels),
                },
                metadata_errors="replace",
            )
    except MemoryError:
        raise
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            "not_a_video",
            f"{path.name} is not a video, or not of a kind that is read here (MP4, MOV, WebM, MKV, AVI, GIF, "
            "MPEG, FLV, Ogg, WMV). Check that it plays; convert it to MP4 if it does.",
        ) from error
    with container:
        yield container
