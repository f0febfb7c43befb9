"""What the decoder gives: what decoding in this process would, refusals included."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from motiontrace.answering.sandbox import Decoder, decoder_limits
from motiontrace.attribution.video import VideoError, VideoLimits, inspect_video, read_video, thumbnail
from motiontrace.service.settings import ServiceSettings
from tests.answering import sandboxed
from tests.answering.sandbox.confined import SIZE, confining, decoding, forkserver, refusal, running_child
from tests.attribution.videos import broken, counted, write_video

NAMES = [
    "clip.mp4",
    "clip.mov",
    "clip.mkv",
    "clip.webm",
    "clip.avi",
    "clip.gif",
    "sound.mkv",
    "libsvtav1.mkv",
    "mpeg2video.mkv",
    "ffv1.mkv",
]


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_of_read_video_bit_by_bit(decoder: Decoder, folder: Path, name: str) -> None:
    for fps in (None, 8.0):
        found, expected = decoder.read(folder / name, fps=fps, **SIZE), read_video(folder / name, fps=fps, **SIZE)
        assert np.array_equal(found.frames, expected.frames) and found.frames.dtype == np.uint8
        assert (found.source_index, found.info) == (expected.source_index, expected.info)
    assert decoder.thumbnail(folder / name, side=32) == thumbnail(folder / name, side=32)
    decoder.inspect(folder / name)


def test_frames_of_a_hundred_megabytes_come_whole(decoder: Decoder, clip: Path) -> None:
    found = decoder.read(clip, frames=81, height=480, width=832)
    assert np.array_equal(found.frames, read_video(clip, frames=81, height=480, width=832).frames)
    found.frames[0] = 0  # the caller's own


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        ("file_too_large", VideoLimits(max_bytes=100)),
        ("picture_too_large", VideoLimits(max_pixels=64 * 48 - 1)),
        ("picture_too_large", VideoLimits(max_side=63)),
        ("too_many_frames", VideoLimits(max_frames=11)),
        ("too_long", VideoLimits(max_seconds=0.5)),
    ],
)
def test_limits_are_refused_as_in_this_process(clip: Path, code: str, limits: VideoLimits) -> None:
    with pytest.raises(VideoError) as expected:
        inspect_video(clip, limits)
    with decoding(limits) as decoder:
        for act in (decoder.inspect, lambda path: decoder.read(path, **SIZE)):
            with pytest.raises(VideoError) as caught:
                act(clip)
            assert (caught.value.code, str(caught.value)) == (code, str(expected.value))
        assert decoder.thumbnail(clip) == thumbnail(clip)  # of a catalog's clip: the indexer's limits hold


def test_files_that_are_no_video_are_refused_as_in_this_process(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("only words")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    os.mkfifo(tmp_path / "pipe.mp4")
    undecodable = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4"))
    undecodable.write_text("a name that is no text")
    for path in [*tmp_path.iterdir(), tmp_path, tmp_path / "absent.mp4"]:
        with pytest.raises(VideoError) as expected:
            read_video(path, **SIZE)
        for act in (decoder.inspect, lambda path: decoder.read(path, **SIZE), decoder.thumbnail):
            with pytest.raises(VideoError) as caught:
                act(path)
            assert caught.value.code == expected.value.code
            if path != undecodable:
                assert str(caught.value) == str(expected.value)


def test_a_link_leads_to_its_file(decoder: Decoder, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(clip)
    assert decoder.read(tmp_path / "link.mp4", **SIZE).info.frames == 12


def test_a_closed_decoder_says_so_in_calls_under_way_too(clip: Path) -> None:
    with confining() as sandbox, ThreadPoolExecutor(1) as thread:
        call = thread.submit(refusal, sandbox=sandbox, path=clip, function=sandboxed.sleep)
        server = forkserver()
        running_child(server)
        sandbox.close()
        assert call.result(10).code == "decoder_closed"
        assert refusal(sandbox=sandbox, path=clip, function=sandboxed.sleep).code == "decoder_closed"
        assert not server.is_running()


def test_limits_come_from_the_settings(tmp_path: Path) -> None:
    settings = ServiceSettings(
        home=tmp_path,
        max_upload_bytes=1,
        max_video_pixels=2,
        max_video_frames=3,
        max_video_seconds=4.0,
        decoder_memory_bytes=1 << 28,
        decoder_cpu_seconds=5,
    )
    limits = decoder_limits(settings)
    assert limits.video == VideoLimits(max_bytes=1, max_pixels=2, max_frames=3, max_seconds=4.0)
    assert (limits.memory_bytes, limits.cpu_seconds) == (1 << 28, 5) and limits.wall_seconds > 5


def test_damage_and_joints_are_told_as_in_this_process(decoder: Decoder, tmp_path: Path) -> None:
    source = write_video(tmp_path / "clip.ts", counted(24), codec="libx264", options={"g": "12", "bf": "0"})
    (tmp_path / "both.ts").write_bytes(source.read_bytes() * 2)
    plain = write_video(tmp_path / "plain.mp4", counted(24), options={"bf": "0"})
    few = broken(plain, tmp_path / "few.mp4", [7])
    assert decoder.read(tmp_path / "both.ts", **SIZE).info.time_jumps == 1
    assert decoder.read(few, **SIZE).info.damaged_frames == 1
    assert decoder.read(few, **SIZE).info == read_video(few, **SIZE).info


def test_absurd_counts_are_damage_and_not_too_little_memory(decoder: Decoder, tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "clip.mp4", counted(9)).read_bytes())
    for table, place in ((b"stsz", 12), (b"stts", 8)):
        absurd = bytearray(data)
        at = absurd.rindex(table) + place
        absurd[at : at + 4] = b"\xff" * 4
        (tmp_path / "absurd.mp4").write_bytes(absurd)
        for act in (decoder.inspect, decoder.thumbnail, lambda path: decoder.read(path, **SIZE)):
            with pytest.raises(VideoError) as caught:
                act(tmp_path / "absurd.mp4")
            assert caught.value.code == "damaged"
