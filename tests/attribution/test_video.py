"""Decoding: which frames are taken and how they look."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiontrace.attribution.video import read_video, thumbnail
from tests.attribution.videos import CODECS, add_stream, counted, encode, numbers, read, write_gif, write_video

RED, GREEN, BLUE, WHITE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (127, 127, 127)


def quadrants(height: int = 64, width: int = 96) -> np.ndarray:
    """Red and green above blue and white."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, WHITE
    return picture


def corners(picture: np.ndarray) -> list[tuple[int, int, int]]:
    """The pure colours nearest to the quarters of a picture: top left, top right, bottom left, bottom right."""
    height, width = picture.shape[:2]
    spots = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [tuple(np.where(picture[spot] > 127, 255, 0).tolist()) for spot in spots]


# --- which frames ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", CODECS)
def test_every_container_gives_the_same_evenly_spread_frames(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"clip{suffix}", counted(33))
    video = read(path, frames=17)
    assert video.frames.shape == (17, 32, 32, 3) and video.frames.dtype == np.uint8
    assert video.source_index == tuple(range(0, 33, 2))
    assert numbers(video.frames) == video.source_index
    assert video.info.frames == 33
    assert video.info.fps == pytest.approx(16, rel=0.01)
    assert video.info.seconds == pytest.approx(33 / 16, rel=0.01)


def test_reordered_frames_in_avi_which_has_no_display_times_come_in_the_right_order(tmp_path: Path) -> None:
    path = write_video(tmp_path / "reordered.avi", counted(33), codec="libx264", options={"bf": "3"})
    assert numbers(read(path, frames=17).frames) == tuple(range(0, 33, 2))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    gaps=st.lists(st.integers(2, 400), min_size=0, max_size=14),
    wanted=st.integers(1, 9),
    fps=st.none() | st.floats(0.5, 40),
)
def test_the_frame_shown_at_each_instant_is_taken_at_any_variable_rate(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], wanted: int, fps: float | None
) -> None:
    times = np.cumsum([0, *gaps]) / 1000
    path = tmp_path_factory.mktemp("vfr") / "clip.mkv"
    write_video(path, counted(len(times)), rate=1000, times=times.tolist(), options={"preset": "ultrafast"})
    video = read(path, frames=wanted, fps=fps)

    step = times[-1] / max(1, wanted - 1)
    if fps is not None and (wanted - 1) / fps <= times[-1] + 0.001:
        step = 1 / fps
    shown = [max(i for i, time in enumerate(times) if time <= k * step + 0.001) for k in range(wanted)]
    assert list(video.source_index) == shown
    assert list(numbers(video.frames)) == shown


def test_a_rate_takes_instants_from_the_first_frame_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", counted(33))
    assert read(path, fps=8).source_index == (0, 2, 4, 6, 8)


def test_a_clip_too_short_for_the_rate_is_spread_over_its_whole_length(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", counted(33))
    assert read(path, fps=1.5).source_index == (0, 8, 16, 24, 32)


def test_one_frame_is_a_clip_that_repeats_it(tmp_path: Path) -> None:
    video = read(write_video(tmp_path / "one.mp4", counted(1)))
    assert video.source_index == (0,) * 5 and video.info.frames == 1
    assert (video.frames == video.frames[0]).all()


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path: Path) -> None:
    times = [(index - 9) / 16 for index in range(24)]  # mp4 hides what lies before 0
    path = write_video(tmp_path / "cut.mp4", counted(24), times=times, rate=1000)
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 24
    video = read(path, frames=15)
    assert video.info.frames == 15
    assert numbers(video.frames) == tuple(range(9, 24))


def test_a_stream_that_begins_between_key_frames_begins_at_the_next(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", counted(33), options={"g": "8", "bf": "0", "sc_threshold": "0"})
    path = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][3:]:
            packet.stream = stream
            output.mux(packet)
    video = read(path, frames=9)
    assert video.info.frames == 25
    assert numbers(video.frames) == tuple(range(8, 33, 3))


def test_the_first_video_stream_counts(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as output:
        clips = [[np.full((side, side, 3), colour, np.uint8)] * 4 for side, colour in ((64, RED), (128, GREEN))]
        streams = [add_stream(output, "libx264", clip) for clip in clips]
        for stream, clip in zip(streams, clips, strict=True):
            encode(output, stream, clip)
    video = read(path)
    assert video.info.width == 64
    assert corners(video.frames[0]) == [RED] * 4


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as output:
        picture = np.full((64, 64, 3), WHITE, np.uint8)
        cover, stream = add_stream(output, "mjpeg", [picture], "yuvj420p"), add_stream(output, "libx264", counted(9))
        cover.disposition = av.stream.Disposition.attached_pic
        encode(output, cover, [picture])
        encode(output, stream, counted(9))
    assert numbers(read(path, frames=9).frames) == tuple(range(9))


def test_broken_sound_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        video, sound = add_stream(output, "libx264", counted(9)), output.add_stream("aac", rate=44100)
        encode(output, video, counted(9))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            garbage = av.Packet(rng.bytes(packet.size + 50))
            garbage.stream, garbage.pts, garbage.dts = sound, packet.pts, packet.dts
            garbage.time_base = packet.time_base
            output.mux(garbage)
    assert numbers(read(path, frames=9).frames) == tuple(range(9))


# --- how they look --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "matrix", "expected"),
    [
        (0, (1, 0, 0, 1), [RED, GREEN, BLUE, WHITE]),
        (90, (0, 1, -1, 0), [BLUE, RED, WHITE, GREEN]),  # what a phone held upright writes
        (180, (-1, 0, 0, -1), [WHITE, BLUE, GREEN, RED]),
        (270, (0, -1, 1, 0), [GREEN, WHITE, RED, BLUE]),
        (0, (-1, 0, 0, 1), [GREEN, RED, WHITE, BLUE]),  # a mirrored front camera
    ],
)
def test_a_clip_is_shown_as_its_display_matrix_says(
    tmp_path: Path, degrees: int, matrix: tuple[int, ...], expected: list[tuple[int, int, int]]
) -> None:
    a, b, c, d = (65536 * entry for entry in matrix)
    whole = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = write_video(tmp_path / "turned.mp4", [quadrants()] * 3, prepare=lambda s: s.set_display_matrix(whole))
    video = read(path)
    assert video.info.rotation == degrees
    assert (video.info.width, video.info.height) == ((64, 96) if degrees in (90, 270) else (96, 64))
    assert corners(video.frames[0]) == expected
    assert corners(cv2.imdecode(np.frombuffer(thumbnail(path), np.uint8), 1)[..., ::-1]) == expected


def test_the_middle_of_the_frame_is_kept(tmp_path: Path) -> None:
    picture = np.full((64, 192, 3), RED, np.uint8)
    picture[:, 64:128] = quadrants(64, 64)
    path = write_video(tmp_path / "wide.mp4", [picture] * 3, pixels="yuv444p")
    assert corners(read(path, side=64).frames[0]) == [RED, GREEN, BLUE, WHITE]
    tall = read_video(path, frames=1, height=128, width=64).frames[0]  # enlarged, and cut still narrower
    assert tall.shape == (128, 64, 3) and corners(tall) == [RED, GREEN, BLUE, WHITE]


def test_shrinking_averages_areas(tmp_path: Path) -> None:
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:, ::4] = 200
    path = write_video(tmp_path / "stripes.mkv", [picture] * 2, codec="ffv1", pixels="bgr0")
    assert (read(path).frames == 50).all()


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    def wide(stream: object) -> None:
        stream.codec_context.sample_aspect_ratio = 2  # type: ignore[attr-defined]

    path = write_video(tmp_path / "anamorphic.mp4", [quadrants(64, 96)] * 2, prepare=wide)
    video = read(path)
    assert (video.info.width, video.info.height) == (192, 64)
    assert corners(video.frames[0]) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [(".webm", "libvpx-vp9", "yuva420p"), (".mov", "png", "rgba"), (".mkv", "ffv1", "bgra")],
)
def test_what_is_transparent_becomes_grey(tmp_path: Path, suffix: str, codec: str, pixels: str) -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[16:48, 16:48] = (*RED, 255)
    frames = read(write_video(tmp_path / f"clear{suffix}", [picture] * 4, codec=codec, pixels=pixels)).frames
    assert np.abs(frames[:, 2, 2].astype(int) - GREY).max() <= 1
    assert np.abs(frames[:, 16, 16].astype(int) - RED).max() <= 4


def test_what_is_transparent_in_a_gif_becomes_grey(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    video = read(write_gif(tmp_path / "clear.gif", [np.roll(mask, shift, 1) for shift in range(4)], RED))
    assert video.info.codec == "gif"
    assert (video.frames[:, 2, 2] == GREY).all() and (video.frames[:, 16, 16] == RED).all()


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "yuvj420p"])
def test_deep_and_full_range_colours_are_right(tmp_path: Path, pixels: str) -> None:
    colours = [(200, 120, 40), (20, 90, 210), (128, 128, 128), (250, 250, 250)]
    for number, colour in enumerate(colours):
        picture = np.full((64, 64, 3), colour, np.uint8)
        path = write_video(tmp_path / f"{number}.mp4", [picture] * 2, pixels=pixels, options={"crf": "10"})
        assert np.abs(read(path).frames.astype(int) - colour).max() <= 5


def test_decoding_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = write_video(tmp_path / "clip.mp4", list(rng.integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)))
    assert read(path).frames.tobytes() == read(path).frames.tobytes()


def test_a_thumbnail_is_the_whole_middle_frame(tmp_path: Path) -> None:
    pictures = [np.full((100, 400, 3), 16 + 6 * index, np.uint8) for index in range(33)]
    path = write_video(tmp_path / "clip.mp4", pictures, options={"g": "5"})
    small = cv2.imdecode(np.frombuffer(thumbnail(path, side=200), np.uint8), 1)
    assert small.shape == (50, 200, 3)
    assert numbers(small[None]) == (16,)
    assert cv2.imdecode(np.frombuffer(thumbnail(path, side=9000), np.uint8), 1).shape == (100, 400, 3)
