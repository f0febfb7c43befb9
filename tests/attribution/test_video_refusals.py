"""Decoding: what is said of files that cannot be used."""

import pickle
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from motiontrace.attribution.video import VideoError, VideoLimits, inspect_video
from tests.attribution.videos import counted, read, write_gif, write_video


def refused(path: Path, **settings: object) -> VideoError:
    with pytest.raises(VideoError) as caught:
        read(path, **settings)
    return caught.value


def test_files_that_are_no_video_are_named_for_what_they_are(tmp_path: Path) -> None:
    for name in ("notes.txt", "renamed.mp4"):
        (tmp_path / name).write_text("not a video, only words\n" * 100)
        error = refused(tmp_path / name)
        assert error.code == "not_a_video" and name in str(error) and "convert it to MP4" in error.message
    (tmp_path / "empty.mp4").touch()
    assert refused(tmp_path / "empty.mp4").code == "empty_file"
    assert "0 bytes" in str(refused(tmp_path / "empty.mp4"))
    assert refused(tmp_path / "absent.mp4").code == "missing_file"
    assert refused(tmp_path).code == "not_a_file"
    (tmp_path / "noise.webm").write_bytes(np.random.default_rng(0).bytes(20_000))
    assert refused(tmp_path / "noise.webm").code == "not_a_video"


def test_a_playlist_is_not_followed_to_other_files(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", counted(4))
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    for name in ("list.m3u8", "list.ffconcat"):
        assert refused(tmp_path / name).code == "not_a_video"


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        output.mux([*sound.encode(frame), *sound.encode(None)])
    assert refused(path).code == "no_video_stream"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one clip of hard-to-compress frames in each container."""
    folder = tmp_path_factory.mktemp("busy")
    pictures = list(np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8))
    write_video(folder / "plain.mp4", pictures)
    write_video(folder / "faststart.mp4", pictures, container={"movflags": "faststart"})
    write_video(folder / "fragmented.mp4", pictures, container={"movflags": "frag_keyframe+empty_moov"})
    for suffix in (".mkv", ".webm", ".avi"):
        write_video(folder / f"clip{suffix}", pictures)
    write_gif(folder / "clip.gif", [picture[..., 0] > 127 for picture in pictures], (255, 255, 255))
    return folder


@pytest.mark.parametrize("share", [0.3, 0.62, 0.9])
@pytest.mark.parametrize(
    "name", ["plain.mp4", "faststart.mp4", "fragmented.mp4", "clip.mkv", "clip.webm", "clip.avi", "clip.gif"]
)
def test_a_file_that_was_cut_off_is_called_so(tmp_path: Path, busy: Path, name: str, share: float) -> None:
    assert read(busy / name).info.frames == 24
    data = (busy / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    error = refused(tmp_path / name)
    assert error.code == "truncated"
    assert "cut off" in error.message and "again" in error.message


@pytest.mark.parametrize("name", ["plain.mp4", "faststart.mp4", "clip.mkv", "clip.webm", "clip.avi"])
@pytest.mark.parametrize("junk", [b"\x00" * 40, b"\xff" * 40, b"\x00\x00\x00\x18junk" + b"a" * 16, b"\x00" * 3])
def test_junk_after_the_end_does_not_matter(tmp_path: Path, busy: Path, name: str, junk: bytes) -> None:
    (tmp_path / name).write_bytes((busy / name).read_bytes() + junk)
    assert read(tmp_path / name).info.frames == 24


def test_a_recording_that_was_never_finished_has_no_index(tmp_path: Path, busy: Path) -> None:
    data = (busy / "plain.mp4").read_bytes()
    (tmp_path / "crashed.mp4").write_bytes(data[: data.rindex(b"moov") - 4])
    error = refused(tmp_path / "crashed.mp4")
    assert error.code == "truncated" and "index" in error.message


def test_a_cut_between_two_frames_shows_in_the_duration(tmp_path: Path, busy: Path) -> None:
    data = bytearray((busy / "faststart.mp4").read_bytes())
    with av.open(str(busy / "faststart.mp4")) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    box = data.index(b"mdat") - 4
    data[box : box + 4] = bytes(4)  # "runs to the end of the file": the container cannot tell that it was cut
    (tmp_path / "cut.mp4").write_bytes(data[: ends[10]])
    error = refused(tmp_path / "cut.mp4")
    assert error.code == "truncated" and "1.5 s" in error.message


def test_a_hole_in_the_middle_is_damage(tmp_path: Path, busy: Path) -> None:
    data = bytearray((busy / "plain.mp4").read_bytes())
    middle, hole = len(data) // 2, len(data) // 8
    data[middle : middle + hole] = bytes(hole)
    (tmp_path / "hole.mp4").write_bytes(data)
    error = refused(tmp_path / "hole.mp4")
    assert error.code == "damaged" and "beyond frame" in error.message and "10%" in error.message
    start, end = data.index(b"mdat") + 8, data.rindex(b"moov") - 4
    data[start:end] = bytes(end - start)
    (tmp_path / "zeros.mp4").write_bytes(data)
    assert refused(tmp_path / "zeros.mp4").code == "no_frames"


def test_a_picture_20_000_pixels_wide_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    picture = np.zeros((16, 20_000, 3), np.uint8)
    path = write_video(tmp_path / "banner.mkv", [picture] * 2, codec="ffv1")
    error = refused(path)
    assert error.code == "picture_too_large" and "20,000 x 16" in error.message and "Scale" in error.message


def test_each_limit_holds_and_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", counted(33))
    assert refused(path, limits=VideoLimits(max_bytes=100)).code == "file_too_large"
    assert refused(path, limits=VideoLimits(max_side=63)).code == "picture_too_large"
    assert refused(path, limits=VideoLimits(max_pixels=4095)).code == "picture_too_large"
    assert refused(path, limits=VideoLimits(max_frames=32)).code == "too_many_frames"
    assert refused(path, limits=VideoLimits(max_seconds=1.9)).code == "too_long"
    exact = VideoLimits(path.stat().st_size, max_side=64, max_pixels=4096, max_frames=33, max_seconds=2.0)
    assert read(path, limits=exact).info.frames == 33


def test_an_inspection_refuses_by_the_same_limits_and_decodes_nothing(tmp_path: Path, busy: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", counted(33))
    for limits in (
        VideoLimits(max_bytes=100),
        VideoLimits(max_side=63),
        VideoLimits(max_pixels=4095),
        VideoLimits(max_frames=32),
        VideoLimits(max_seconds=1.9),
    ):
        with pytest.raises(VideoError) as caught:
            inspect_video(path, limits)
        assert str(caught.value) == str(refused(path, limits=limits))
    inspect_video(path, VideoLimits(path.stat().st_size, max_side=64, max_pixels=4096, max_frames=33, max_seconds=2.0))
    with pytest.raises(VideoError, match="does not exist"):
        inspect_video(tmp_path / "absent.mp4")
    data = bytearray((busy / "plain.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + len(data) // 8] = bytes(len(data) // 8)
    (tmp_path / "hole.mp4").write_bytes(data)
    inspect_video(tmp_path / "hole.mp4")
    assert refused(tmp_path / "hole.mp4").code == "damaged"


def test_too_little_memory_is_not_called_damage(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.mkv", [np.zeros((2300, 4000, 3), np.uint8)] * 2, codec="ffv1")
    program = (
        "import resource, sys; from motiontrace.attribution.video import read_video; "
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + (32 << 20); "
        "resource.setrlimit(resource.RLIMIT_AS, (size, size)); "
        "read_video(sys.argv[1], frames=2, height=8, width=8)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr and "VideoError" not in done.stderr


def test_sizes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive"):
        read(tmp_path / "any.mp4", frames=0)


def test_an_error_survives_the_way_between_processes(tmp_path: Path) -> None:
    error = refused(tmp_path / "absent.mp4")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message, str(copy)) == (error.code, error.message, str(error))
