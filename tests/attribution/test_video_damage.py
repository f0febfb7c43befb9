"""Decoding: packets without a picture, broken ones, and what decoding says of them."""

from pathlib import Path

import av
import pytest

from motiontrace.attribution.video import VideoError, thumbnail
from motiontrace.attribution.video.coding import holds_picture, is_shown
from motiontrace.attribution.video.damage import Tally
from tests.attribution.videos import broken, counted, numbers, packet_like, read, remux, write_video

FRAMES = 24
PLAIN = {"bf": "0", "g": "12"}
EXTRAS = {  # what encoders and cameras put between pictures, each a unit (NAL)
    "h264 delimiter": ("libx264", b"\x09\xf0"),
    "h264 message": ("libx264", b"\x06\x05\x04abcd\x80"),
    "h264 filler": ("libx264", b"\x0c" + b"\xff" * 40 + b"\x80"),
    "h264 end of sequence": ("libx264", b"\x0a"),
    "hevc delimiter": ("libx265", b"\x46\x01\x50"),
    "hevc message": ("libx265", b"\x4e\x01\x05\x04abcd\x80"),
    "hevc filler": ("libx265", b"\x4c\x01" + b"\xff" * 40 + b"\x80"),
}


def clip(folder: Path, codec: str = "libx264", suffix: str = ".mp4") -> Path:
    options = {"x265-params": "log-level=error:keyint=12:bframes=0"} if codec == "libx265" else PLAIN
    return write_video(folder / f"{codec}{suffix}", counted(FRAMES), codec=codec, options=options)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_packets_without_a_picture_are_no_damage(tmp_path: Path, extra: str, suffix: str) -> None:
    codec, unit = EXTRAS[extra]
    content = len(unit).to_bytes(4) + unit
    path = remux(
        clip(tmp_path, codec),
        tmp_path / f"with{suffix}",
        lambda number, packet: [packet, packet_like(packet, content, 1)] if number in (5, 9, 17) else [packet],
    )
    video = read(path, frames=FRAMES)
    assert video.info.frames == FRAMES and video.info.damaged_frames == 0
    assert numbers(video.frames) == tuple(range(FRAMES))
    assert thumbnail(path)


@pytest.mark.parametrize("content", [b"\x7f", b"\x00\x00\x01\xb6\x55\x9f"])
def test_pictures_of_mpeg_4_that_are_not_coded_are_no_damage(tmp_path: Path, content: bytes) -> None:
    source = write_video(tmp_path / "clip.mp4", counted(FRAMES), codec="mpeg4", options=PLAIN)
    path = remux(
        source,
        tmp_path / "dropped.mp4",
        lambda number, packet: [packet_like(packet, content) if number in (5, 6, 7, 13) else packet],
    )
    video = read(path)
    assert (video.info.frames, video.info.damaged_frames) == (FRAMES - 4, 0)


def test_frames_that_are_dropped_in_avi_are_no_damage(tmp_path: Path) -> None:
    source = write_video(tmp_path / "clip.avi", counted(FRAMES), options=PLAIN)
    path = remux(source, tmp_path / "gaps.avi", lambda number, packet: [] if number in (5, 6, 7, 20, 21) else [packet])
    video = read(path, frames=5)
    assert (video.info.frames, video.info.damaged_frames) == (FRAMES - 5, 0)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mjpeg"])
def test_a_few_broken_packets_are_passed_over_and_told(tmp_path: Path, codec: str) -> None:
    pixels = {"pixels": "yuvj420p"} if codec == "mjpeg" else {}
    options = PLAIN if codec != "libx265" else {"x265-params": "log-level=error:keyint=4:bframes=0"}
    source = write_video(tmp_path / "clip.mp4", counted(FRAMES), codec=codec, options=options, **pixels)
    video = read(broken(source, tmp_path / "broken.mp4", [9, 22]), frames=FRAMES)
    assert video.info.frames < FRAMES
    assert video.info.damaged_frames == FRAMES - video.info.frames
    assert read(source).info.damaged_frames == 0


def test_more_than_a_tenth_broken_is_refused(tmp_path: Path) -> None:
    source = clip(tmp_path)
    assert read(broken(source, tmp_path / "two.mp4", [7, 19])).info.damaged_frames == 2
    with pytest.raises(VideoError, match="3 of its 24 h264 packets") as caught:
        read(broken(source, tmp_path / "three.mp4", [7, 8, 19]))
    assert caught.value.code == "damaged"


def test_a_broken_last_packet_of_a_whole_file_is_not_called_a_cut(tmp_path: Path) -> None:
    source = write_video(tmp_path / "clip.mp4", counted(FRAMES), options=PLAIN, container={"movflags": "faststart"})
    assert read(broken(source, tmp_path / "last.mp4", [FRAMES - 1])).info.damaged_frames == 1


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".webm", "libvpx-vp9"), (".ts", "libx264")])
def test_pictures_that_the_container_has_lost_are_counted(tmp_path: Path, suffix: str, codec: str) -> None:
    small = {"cluster_time_limit": "250"} if suffix != ".ts" else None
    source = remux(
        write_video(tmp_path / "clip.mkv", counted(FRAMES), codec=codec, options={**PLAIN, "crf": "4"}),
        tmp_path / f"whole{suffix}",
        lambda number, packet: [packet],
        small,
    )
    assert (read(source).info.frames, read(source).info.damaged_frames) == (FRAMES, 0)
    with av.open(str(source)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(source.read_bytes())
    data[places[13] - 4 : places[15]] = bytes(places[15] - places[13] + 4)
    (tmp_path / f"hole{suffix}").write_bytes(data)
    info = read(tmp_path / f"hole{suffix}").info
    assert FRAMES // 2 < info.frames < FRAMES
    assert FRAMES - info.frames <= info.damaged_frames <= FRAMES - info.frames + 1  # and one may be wrong


def test_gaps_of_an_uneven_rate_are_no_damage() -> None:
    tally = Tally("clip.webm", "vp9", broken=True)
    for time in (0.0, 0.04, 0.08, 4.0, 4.5, 9.0):
        tally.took(True)
        tally.gave(time, interlaced=False, corrupt=False)
    assert tally.damaged == 1  # a hole, and nobody knows of how many pictures


def test_a_decoder_that_drops_to_the_next_key_frame_is_told(tmp_path: Path) -> None:
    source = clip(tmp_path, "libx265")
    video = read(broken(source, tmp_path / "key.mp4", [12]))  # the second of two key frames
    assert video.info.frames < FRAMES - 1
    assert video.info.damaged_frames == FRAMES - video.info.frames


def test_a_start_between_key_frames_is_told_as_missing_pictures(tmp_path: Path) -> None:
    path = remux(clip(tmp_path), tmp_path / "cut.mkv", lambda number, packet: [packet] if number >= 5 else [])
    assert (read(path).info.frames, read(path).info.damaged_frames) == (12, 7)


def test_pictures_that_vp8_and_vp9_never_show_do_not_count() -> None:
    assert not is_shown("vp8", memoryview(b"\x01")) and is_shown("vp8", memoryview(b"\x11"))
    assert not is_shown("vp9", memoryview(b"\x84\x00")) and is_shown("vp9", memoryview(b"\x86\x00"))
    assert is_shown("vp9", memoryview(b"\x84\x00\xc0"))  # several in one packet: the last is shown
    assert is_shown("vp9", memoryview(b"\x88\x00"))  # shows an earlier one


def test_a_packet_of_junk_may_be_a_picture() -> None:
    mp4, stream = b"\x01\x64\x00\x0a\xff", None
    for codec in ("h264", "hevc", "mpeg2video", "mpeg4", "vp8"):
        assert holds_picture(codec, stream, memoryview(bytes(40)))
    assert holds_picture("h264", mp4, memoryview(bytes(40)))
    assert holds_picture("h264", mp4, memoryview(b"\x00\x00\x00\x09\x06ab"))  # longer than the packet
    assert not holds_picture("h264", mp4, memoryview(b"\x00\x00\x00\x02\x09\xf0\x00\x00\x00\x03\x06ab"))
    assert not holds_picture("h264", stream, memoryview(b"\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x06ab"))
    assert not holds_picture("theora", stream, memoryview(b"\x80theora"))
    assert holds_picture("theora", stream, memoryview(b"\x30\x00"))
    assert not holds_picture("mpeg2video", stream, memoryview(b"\x00\x00\x01\xb7"))
