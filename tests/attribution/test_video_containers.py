"""Decoding: lengths that are overstated, ends that are missing, counts that cannot be true, and which stream counts."""

import random
import resource
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from motiontrace.attribution.video import VideoError, inspect_video, read_video, thumbnail
from tests.attribution.videos import add_stream, counted, encode, numbers, picture_number, read, write_gif, write_video

ABSURD = (0xFFFFFFFF, 0x7FFFFFFF, 0x10000000)


def refused(path: Path) -> VideoError:
    """The one error by which a file is refused, whatever is asked of it."""
    found = []
    for ask in (read, thumbnail, inspect_video):
        with pytest.raises(VideoError) as caught:
            ask(path)
        found.append(caught.value)
    assert len({error.code for error in found}) == 1
    return found[0]


# --- lengths ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "codec", "sound"), [
    (".wmv", "wmv2", "aac"), (".flv", "flv", "aac"), (".mp4", "libx264", "aac"), (".mkv", "libx264", "aac"),
])  # fmt: skip
def test_sound_may_last_longer_than_the_picture(tmp_path: Path, suffix: str, codec: str, sound: str) -> None:
    path = tmp_path / f"long{suffix}"
    with av.open(str(path), "w") as output:
        video, audio = add_stream(output, codec, counted(25), rate=25), output.add_stream(sound, rate=44100)
        encode(output, video, counted(25))
        for number in range(5 * 44100 // 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, number * 1024
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    assert read(path).info.frames == 25
    assert read(path).info.seconds == pytest.approx(1.0, abs=0.1)
    assert thumbnail(path)


def test_an_avi_may_overstate_its_length(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", counted(25), rate=25)
    data = bytearray(path.read_bytes())
    stated = data.index(b"strh") + 8 + 32
    assert int.from_bytes(data[stated : stated + 4], "little") == 25
    data[stated : stated + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    assert read(path).info.frames == 25


@pytest.mark.parametrize(("suffix", "codec"), [(".wmv", "wmv2"), (".flv", "flv"), (".ivf", "libvpx-vp9")])
def test_a_cut_is_seen_by_what_each_container_tells(tmp_path: Path, suffix: str, codec: str) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8))
    data = write_video(tmp_path / f"whole{suffix}", pictures, codec=codec, rate=25).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: int(len(data) * 0.6)])
    assert refused(tmp_path / f"cut{suffix}").code == "truncated"


def test_an_animated_png_that_was_cut_off_is_called_so(tmp_path: Path) -> None:
    data = write_video(tmp_path / "whole.apng", counted(6), codec="apng", pixels="rgb24", rate=25).read_bytes()
    (tmp_path / "cut.apng").write_bytes(data[: len(data) * 2 // 3])
    assert refused(tmp_path / "cut.apng").code == "truncated"


# --- GIF --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gif(tmp_path: Path) -> bytes:
    masks = [np.roll(np.eye(48, dtype=bool), shift, 1) for shift in range(8)]
    return write_gif(tmp_path / "clip.gif", masks, (255, 0, 0)).read_bytes()


@pytest.mark.parametrize("behind", [b"", b"\x00" * 200, b"\r\n", b"<html>" * 40, bytes(range(256)) * 4])
def test_a_gif_is_whole_with_its_end_mark_whatever_comes_behind(tmp_path: Path, gif: bytes, behind: bytes) -> None:
    (tmp_path / "behind.gif").write_bytes(gif + behind)
    assert read(tmp_path / "behind.gif").info.frames == 8
    assert thumbnail(tmp_path / "behind.gif")


def test_a_gif_without_its_end_mark_is_whole(tmp_path: Path, gif: bytes) -> None:
    assert gif[-1:] == b"\x3b"
    (tmp_path / "open.gif").write_bytes(gif[:-1])
    assert read(tmp_path / "open.gif").info.frames == 8


@pytest.mark.parametrize(
    "last", [b"\x21\xf9\x04\x00\x05\x00\x00\x00", b"\x21\xfe\x04so, \x01x\x00"], ids=["how to show", "comment"]
)
def test_what_a_gif_says_behind_its_last_picture_is_no_picture(tmp_path: Path, gif: bytes, last: bytes) -> None:
    (tmp_path / "more.gif").write_bytes(gif[:-1] + last + gif[-1:])
    whole, video = read(tmp_path / "clip.gif"), read(tmp_path / "more.gif")
    assert (video.info.frames, video.info.damaged_frames) == (8, 0)
    assert video.source_index == whole.source_index
    assert thumbnail(tmp_path / "more.gif") == thumbnail(tmp_path / "clip.gif")


def test_a_gif_that_ends_within_a_picture_or_ahead_of_one_is_cut_off(tmp_path: Path, gif: bytes) -> None:
    control = gif.rindex(b"\x21\xf9\x04")
    for end in (control + 8, control + 20, len(gif) - 3, len(gif) - 2):
        (tmp_path / "cut.gif").write_bytes(gif[:end])
        assert refused(tmp_path / "cut.gif").code == "truncated", end


# --- which stream -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_still_beside_the_real_thing_is_not_the_clip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"two{suffix}"
    with av.open(str(path), "w") as output:
        picture = np.full((96, 96, 3), 200, np.uint8)
        still, clip = add_stream(output, "mjpeg", [picture], "yuvj420p"), add_stream(output, "libx264", counted(9))
        encode(output, still, [picture])
        encode(output, clip, counted(9))
    assert (read(path).info.width, read(path).info.frames) == (64, 9)
    assert picture_number(thumbnail(path)) == 4


def test_a_picture_is_told_as_that_and_not_as_cut_off(tmp_path: Path) -> None:
    path = write_video(tmp_path / "photo.avif", counted(1), codec="libsvtav1", options={"svtav1-params": "lp=1"})
    error = refused(path)
    assert error.code == "not_a_video" and "is a picture" in str(error)


def test_an_animated_avif_is_not_its_still(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "clip.avif", counted(9), codec="libsvtav1", options={"svtav1-params": "lp=1"}, rate=25
    )
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    video = read(path, frames=9)
    assert video.info.frames == 9
    assert np.abs(np.subtract(numbers(video.frames), range(9))).max() <= 1


# --- hostile files ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    written = {
        "plain.mp4": write_video(folder / "plain.mp4", counted(9), options={"bf": "2"}),
        "pieces.mp4": write_video(
            folder / "pieces.mp4", counted(9), container={"movflags": "frag_keyframe+empty_moov"}
        ),
        "clip.mkv": write_video(folder / "clip.mkv", counted(9)),
        "clip.avi": write_video(folder / "clip.avi", counted(9)),
        "clip.wmv": write_video(folder / "clip.wmv", counted(9), codec="wmv2", rate=25),
        "clip.gif": write_gif(folder / "clip.gif", [np.eye(32, dtype=bool)] * 3, (255, 0, 0)),
    }
    return {name: path.read_bytes() for name, path in written.items()}


@pytest.mark.parametrize("count", ABSURD)
@pytest.mark.parametrize("table", [b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"stss", b"elst", b"trun"])
def test_an_absurd_count_in_an_mp4_is_damage(tmp_path: Path, small: dict[str, bytes], table: bytes, count: int) -> None:
    data = bytearray(small["pieces.mp4" if table == b"trun" else "plain.mp4"])
    place = data.rindex(table) + (12 if table == b"stsz" else 8)
    data[place : place + 4] = count.to_bytes(4)
    (tmp_path / "absurd.mp4").write_bytes(data)
    error = refused(tmp_path / "absurd.mp4")
    assert error.code == "damaged"
    assert f"counts {count:,} entries in its {table.decode()} part" in error.message


def test_samples_all_of_one_size_cannot_be_more_than_the_file_holds(tmp_path: Path, small: dict[str, bytes]) -> None:
    data = bytearray(small["plain.mp4"])
    place = data.rindex(b"stsz") + 8
    data[place : place + 8] = (100).to_bytes(4) + (1 << 28).to_bytes(4)
    (tmp_path / "absurd.mp4").write_bytes(data)
    assert refused(tmp_path / "absurd.mp4").code == "damaged"


@pytest.mark.parametrize("name", ["plain.mp4", "pieces.mp4", "clip.mkv", "clip.avi", "clip.wmv", "clip.gif"])
def test_flipped_bytes_and_hostile_sizes_end_in_frames_or_in_our_error(
    tmp_path: Path, small: dict[str, bytes], name: str
) -> None:
    chance, whole = random.Random(0), small[name]
    path = tmp_path / name
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))  # what is asked for beyond is not there
    try:
        for number in range(60):
            data, place = bytearray(whole), chance.randrange(len(whole) - 4)
            data[place : place + 4] = [
                bytes([data[place] ^ 1 << chance.randrange(8), *data[place + 1 : place + 4]]),
                b"\xff\xff\xff\xff",
                b"\x7f\xff\xff\xff",
            ][number % 3]
            path.write_bytes(data)
            for ask in (_read_small, thumbnail):
                try:
                    ask(path)
                except VideoError as error:
                    assert name in error.message
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _read_small(path: Path) -> Any:
    return read_video(path, frames=3, height=16, width=16)


def test_an_index_that_asks_for_more_memory_than_there_is_is_damage(
    tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mkv").write_bytes(small["clip.mkv"])

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(av, "open", no_memory)
    assert refused(tmp_path / "clip.mkv").code == "damaged"
