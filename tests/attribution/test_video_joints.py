"""Decoding: files whose clock starts again or leaps, and files put together."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.video import DecodedVideo, VideoError, inspect_video, thumbnail
from motiontrace.attribution.video.clock import JoinedClock
from tests.attribution.videos import counted, numbers, picture_number, read, remux, write_gif, write_video

HALF = 16
CODECS = {".ts": "libx264", ".mpg": "mpeg2video", ".mkv": "libx264", ".webm": "libvpx-vp9"}
WRAP = 2**33 / 90_000  # seconds, after which the clock of MPEG-TS begins anew


def part(path: Path, pictures: Sequence[np.ndarray], *, codec: str = "", start: float = 0.0) -> Path:
    """A part of a recording, 25 frames a second, whose clock begins `start` seconds late."""
    codec = codec or CODECS[path.suffix]
    options = {"g": "8"} | ({"bf": "2"} if codec in ("libx264", "mpeg2video") else {})
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = write_video(path.with_suffix(".whole.mp4"), pictures, codec=codec, rate=25, options=options, pixels=pixels)

    def later(number: int, packet: Any) -> list[Any]:
        ticks = round(start / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return [packet]

    return remux(whole, path, later)


def assert_all_in_order(video: DecodedVideo) -> None:
    """All frames of both halves, each once."""
    assert video.source_index == tuple(range(2 * HALF))
    assert np.abs(np.subtract(numbers(video.frames), video.source_index)).max() <= 1  # MPEG-2 is lossy


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(each.read_bytes() for each in parts))
    return path


def halves(folder: Path, suffix: str, codec: str = "", starts: tuple[float, float] = (0.0, 0.0)) -> tuple[Path, Path]:
    pictures = counted(2 * HALF)
    first = part(folder / f"first{suffix}", pictures[:HALF], codec=codec, start=starts[0])
    return first, part(folder / f"second{suffix}", pictures[HALF:], codec=codec, start=starts[1])


@pytest.mark.parametrize(
    ("suffix", "codec"), [*CODECS.items(), (".ts", "mpeg2video"), (".ts", "libx265"), (".mkv", "mjpeg")]
)
def test_time_that_starts_again_goes_on_behind_the_last_frame(tmp_path: Path, suffix: str, codec: str) -> None:
    path = join(tmp_path / f"both{suffix}", *halves(tmp_path, suffix, codec))
    inspect_video(path)
    video = read(path, frames=2 * HALF)
    assert (video.info.time_jumps, video.info.damaged_frames) == (1, 0)
    assert_all_in_order(video)
    assert video.info.seconds == pytest.approx(2 * HALF / 25, abs=0.1)
    assert picture_number(thumbnail(path)) in (HALF - 1, HALF)


@pytest.mark.parametrize("starts", [(0.0, 7200.0), (7200.0, 0.0), (100.0, 60.0), (WRAP - 30, 10.0), (0.0, WRAP - 300)])
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_time_that_leaps_goes_on_behind_the_last_frame(
    tmp_path: Path, suffix: str, starts: tuple[float, float]
) -> None:
    path = join(tmp_path / f"both{suffix}", *halves(tmp_path, suffix, starts=starts))
    video = read(path, frames=2 * HALF)
    assert_all_in_order(video)
    assert video.info.seconds == pytest.approx(2 * HALF / 25, abs=0.1)


@pytest.mark.parametrize("suffix", [".flv", ".mkv", ".mp4"])
@pytest.mark.parametrize("leap", [3 * 3600, 90])
def test_a_recorder_that_slept_leaves_no_gap(tmp_path: Path, suffix: str, leap: int) -> None:
    whole = write_video(tmp_path / "whole.mkv", counted(2 * HALF), options={"bf": "0"})

    def late(number: int, packet: Any) -> list[Any]:
        later = leap * 1000 if number >= HALF else 0  # the ticks of Matroska
        packet.pts, packet.dts = packet.pts + later, packet.dts + later
        return [packet]

    video = read(remux(whole, tmp_path / f"slept{suffix}", late), frames=2 * HALF)
    assert (video.info.frames, video.info.time_jumps) == (2 * HALF, 1)
    assert numbers(video.frames) == tuple(range(2 * HALF))


@pytest.mark.parametrize(("stands", "goes_on"), [(0, 48), (HALF, 2 * HALF), (HALF, HALF + 10)])
@pytest.mark.parametrize("suffix", [".flv", ".mkv"])
def test_a_clock_that_stands_still_goes_on_at_the_usual_rate(
    tmp_path: Path, suffix: str, stands: int, goes_on: int
) -> None:
    whole = write_video(tmp_path / "whole.mkv", counted(2 * HALF), options={"bf": "0"})

    def standing(number: int, packet: Any) -> list[Any]:
        if stands <= number < goes_on:
            packet.pts = packet.dts = round(stands * 62.5)  # of Matroska's ticks, 16 pictures a second
        return [packet]

    video = read(remux(whole, tmp_path / f"stands{suffix}", standing), frames=2 * HALF)
    assert video.info.frames == 2 * HALF and video.info.time_jumps >= 1
    assert len(set(video.source_index)) >= 2 * HALF - 8  # else most samples would show one picture


def test_a_whole_clip_of_one_millisecond_is_sampled_all_along(tmp_path: Path) -> None:
    fast = {"video_track_timescale": "20000"}
    video = read(write_video(tmp_path / "fast.mp4", counted(20), rate=20_000, container=fast), frames=5)
    assert video.info.seconds == pytest.approx(0.001)
    assert video.source_index[0] <= 2 and np.diff(video.source_index).min() >= 3


def test_the_counter_of_mpeg_ts_may_begin_anew(tmp_path: Path) -> None:
    path = part(tmp_path / "wraps.ts", counted(32), start=WRAP - 1)
    assert numbers(read(path, frames=32).frames) == tuple(range(32))


def test_a_still_picture_in_a_screen_recording_is_shown_as_long_as_it_was(tmp_path: Path) -> None:
    times = [0.0, 0.5, 1.0, 21.0, 21.5]
    path = write_video(tmp_path / "screen.mkv", counted(5), rate=1000, times=times)
    assert read(path, frames=5).info.time_jumps == 0
    assert numbers(read(path, frames=5).frames) == (0, 2, 2, 2, 4)


@pytest.mark.parametrize("suffix", [".flv", ".mp4", ".wmv", ".ivf", ".apng", ".nut"])
def test_files_put_together_of_which_players_show_the_first_are_refused(tmp_path: Path, suffix: str) -> None:
    codec = {".flv": "flv", ".wmv": "wmv2", ".ivf": "libvpx-vp9", ".apng": "apng"}.get(suffix, "libx264")
    pixels = "rgb24" if codec == "apng" else "yuv420p"
    parts = [
        write_video(tmp_path / f"{name}{suffix}", counted(8), codec=codec, pixels=pixels, rate=25) for name in "ab"
    ]
    assert [read(each).info.frames for each in parts] == [8, 8]
    path = join(tmp_path / f"both{suffix}", *parts)
    for refuse in (read, inspect_video, thumbnail):
        with pytest.raises(VideoError, match=f"another begins at byte {parts[0].stat().st_size:,}") as caught:
            refuse(path)
        assert caught.value.code == "joined_files"


def test_a_gif_with_another_behind_it_shows_both(tmp_path: Path) -> None:
    masks = [np.roll(np.eye(32, dtype=bool), shift, 1) for shift in range(6)]
    parts = [write_gif(tmp_path / f"{name}.gif", masks, (255, 0, 0)) for name in "ab"]
    assert read(join(tmp_path / "both.gif", *parts)).info.frames == 12


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(2, 20), min_size=1, max_size=5),
    starts=st.lists(st.integers(-(10**7), 10**10), min_size=5, max_size=5),
    step=st.integers(1, 500),
)
def test_on_one_clock_every_picture_comes_a_step_behind_the_one_before(
    lengths: list[int], starts: list[int], step: int
) -> None:
    clock = JoinedClock(Fraction(1, 1000), Fraction(1000, step), streamed=False)
    shown = []
    for length, start in zip(lengths, starts, strict=False):
        for number in range(length):
            time = start + number * step
            packet = SimpleNamespace(pts=time, dts=time, is_keyframe=number == 0)
            clock.move(packet, picture=True)
            shown.append(packet.pts)
    gaps = np.diff(shown)
    inner = np.delete(gaps, np.cumsum(lengths[:-1], dtype=int) - 1)
    assert (inner == step).all()
    assert (gaps > -101).all() and (gaps <= 60_000).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(gaps=st.lists(st.integers(1, 9_000), min_size=1, max_size=30), start=st.integers(-5000, 5000))
def test_a_clock_that_only_goes_on_is_left_alone(gaps: list[int], start: int) -> None:
    clock = JoinedClock(Fraction(1, 1000), None, streamed=True)
    times = np.cumsum([start, *gaps]).tolist()
    packets = [SimpleNamespace(pts=time, dts=None, is_keyframe=True) for time in times]
    for packet in packets:
        clock.move(packet, picture=True)
    assert [packet.pts for packet in packets] == times and clock.joints == 0
