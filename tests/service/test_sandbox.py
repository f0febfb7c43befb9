"""Decoding in a process that can do nothing else."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import psutil
import pytest

from attribution.video import VideoError, VideoLimits, inspect_video, read_video, thumbnail
from service.sandbox import Decoder, DecoderError, DecoderLimits, decoder_limits, protections
from service.sandbox.confinement import missing
from service.sandbox.sandbox import Sandbox
from service.settings import ServiceSettings
from tests.attribution import videos
from tests.service import sandboxed
from tests.service.asking import until
from tests.videos import moving_square

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 256 << 20
SIZE: dict[str, Any] = {"frames": 8, "height": 48, "width": 80}
needs_confinement = pytest.mark.skipif(bool(missing()), reason=f"this machine has not {' and '.join(missing())}")


@contextmanager
def decoding(video: VideoLimits = VideoLimits(), **limits: Any) -> Iterator[Decoder]:
    given = {"memory_bytes": MEMORY, "cpu_seconds": 20, "wall_seconds": 60.0} | limits
    decoder = Decoder(DecoderLimits(video, **given))
    try:
        yield decoder
    finally:
        decoder.close()


@contextmanager
def confining(**limits: Any) -> Iterator[Sandbox]:
    sandbox = Sandbox(**({"memory_bytes": MEMORY, "cpu_seconds": 20, "wall_seconds": 60.0} | limits))
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with decoding() as decoder:
        yield decoder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with confining() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in each container, one of them with sound and subtitles, one turned."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8))
    for suffix in videos.CODECS:
        videos.write_video(folder / f"clip{suffix}", pictures)
    for codec in ("libsvtav1", "mpeg2video", "ffv1"):
        videos.write_video(folder / f"{codec}.mkv", [np.repeat(each, 2, 1) for each in pictures], codec=codec)
    videos.write_gif(folder / "clip.gif", [picture[..., 0] > 127 for picture in pictures], (255, 255, 255))
    with av.open(str(folder / "sound.mkv"), "w") as output:
        stream = videos.add_stream(output, "libx264", pictures)
        sound = output.add_stream("aac", rate=44100)
        videos.encode(output, stream, pictures)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        output.mux([*sound.encode(frame), *sound.encode(None)])
    return folder


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return folder / "clip.mp4"


def forkserver() -> psutil.Process:
    """The only one of a test's own sandbox; those of the module's fixtures are older."""
    servers = [each for each in psutil.Process().children() if "forkserver" in " ".join(each.cmdline())]
    return max(servers, key=psutil.Process.create_time)


def running_child(server: psutil.Process) -> psutil.Process:
    until(lambda: server.children())
    return server.children()[0]


def refusal(*, sandbox: Sandbox, path: Path, function: Any, **arguments: Any) -> DecoderError:
    with pytest.raises(DecoderError) as caught:
        sandbox.call(function, path, **arguments)
    return caught.value


NAMES = ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.avi", "clip.gif", "sound.mkv",
         "libsvtav1.mkv", "mpeg2video.mkv", "ffv1.mkv"]  # fmt: skip


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


def test_a_picture_that_takes_too_much_memory_costs_its_call_only(clip: Path, tmp_path: Path) -> None:
    black = [np.zeros((2300, 4000, 3), np.uint8)] * 2
    bomb = videos.write_video(tmp_path / "bomb.mkv", black, codec="ffv1")
    assert bomb.stat().st_size < 1 << 20
    with decoding(memory_bytes=48 << 20) as decoder:
        for act in (lambda: decoder.read(bomb, **SIZE), lambda: decoder.thumbnail(bomb)):
            with pytest.raises(DecoderError) as caught:
                act()
            assert caught.value.code == "decoder_out_of_memory"
            assert "bomb.mkv" in str(caught.value) and "50,331,648 bytes" in str(caught.value)
        assert decoder.read(clip, **SIZE).info.frames == 12


def test_memory_is_limited_to_what_is_given(sandbox: Sandbox, clip: Path) -> None:
    assert sandbox.call(sandboxed.take_memory, clip, size=MEMORY // 2)[0] == MEMORY // 2
    error = refusal(sandbox=sandbox, path=clip, function=sandboxed.take_memory, size=MEMORY + (8 << 20))
    assert error.code == "decoder_out_of_memory"


def test_endless_computing_ends_at_the_processor_time_given(clip: Path) -> None:
    with confining(cpu_seconds=1) as sandbox:
        error = refusal(sandbox=sandbox, path=clip, function=sandboxed.compute_for_ever)
    assert error.code == "decoder_timeout" and "longer than 1 seconds" in str(error)


@pytest.mark.parametrize("function", [sandboxed.sleep, sandboxed.compute_for_ever])
def test_a_decoder_that_does_not_end_is_killed_when_its_time_is_over(clip: Path, function: Any) -> None:
    with confining(wall_seconds=0.3) as sandbox:
        started = time.monotonic()
        error = refusal(sandbox=sandbox, path=clip, function=function)
        assert error.code == "decoder_timeout" and 0.3 <= time.monotonic() - started < 5
        until(lambda: not forkserver().children())


def test_an_answer_does_not_save_a_process_that_stays(clip: Path) -> None:
    header = json.dumps({"bytes": 0}).encode()
    with confining(wall_seconds=0.3) as sandbox:
        answer = struct.pack("!I", len(header)) + header
        error = refusal(sandbox=sandbox, path=clip, function=sandboxed.send, answer=answer, linger=True)
        assert error.code == "decoder_timeout"
        until(lambda: not forkserver().children())


@pytest.mark.parametrize("how", ["segmentation fault", "abort", "nameless signal", "exit", "exception"])
def test_a_crash_costs_its_call_only(sandbox: Sandbox, clip: Path, how: str) -> None:
    error = refusal(sandbox=sandbox, path=clip, function=sandboxed.end, how=how)
    assert error.code == "decoder_crashed" and clip.name in str(error)
    assert sandbox.call(sandboxed.take_memory, clip, size=1) == (1, pytest.approx([]))


def test_a_decoder_that_is_killed_costs_its_call_only(clip: Path) -> None:
    with confining() as sandbox, ThreadPoolExecutor(1) as thread:
        call = thread.submit(refusal, sandbox=sandbox, path=clip, function=sandboxed.sleep)
        running_child(forkserver()).kill()
        assert call.result(10).code == "decoder_crashed"
        assert sandbox.call(sandboxed.take_memory, clip, size=1)[0] == 1


def test_the_fork_server_may_be_killed_in_a_call_or_between_two(clip: Path) -> None:
    with confining() as sandbox, ThreadPoolExecutor(1) as thread:
        call = thread.submit(refusal, sandbox=sandbox, path=clip, function=sandboxed.sleep)
        server = forkserver()
        child = running_child(server)
        server.kill()
        assert call.result(10).code == "decoder_crashed"
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        assert sandbox.call(sandboxed.take_memory, clip, size=1)[0] == 1
        server = forkserver()
        server.kill()
        until(lambda: server.status() == psutil.STATUS_ZOMBIE)
        assert sandbox.call(sandboxed.take_memory, clip, size=1)[0] == 1


def test_a_fork_server_that_hangs_costs_its_call_only(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with confining() as sandbox:
        assert sandbox.call(sandboxed.take_memory, clip, size=1)[0] == 1
        monkeypatch.setattr("service.sandbox.call.START_SECONDS", 0.2)
        server = forkserver()
        server.suspend()
        error = refusal(sandbox=sandbox, path=clip, function=sandboxed.take_memory, size=1)
        assert error.code == "decoder_crashed"
        monkeypatch.undo()
        until(lambda: server.status() == psutil.STATUS_ZOMBIE)
        assert sandbox.call(sandboxed.take_memory, clip, size=1)[0] == 1


def test_a_machine_that_starts_no_more_processes_costs_the_call_only(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with confining() as sandbox:
        server = forkserver()
        server.kill()
        until(lambda: server.status() == psutil.STATUS_ZOMBIE)
        monkeypatch.setattr("sys.executable", "/nonexistent")
        assert refusal(sandbox=sandbox, path=clip, function=sandboxed.sleep).code == "decoder_crashed"
        monkeypatch.undo()
        assert sandbox.call(sandboxed.take_memory, clip, size=1)[0] == 1


PARENT = """
import sys, threading
from pathlib import Path
from service.sandbox.sandbox import Sandbox
from tests.service import sandboxed

sandbox = Sandbox(memory_bytes=1 << 28, cpu_seconds=60, wall_seconds=60)
for _ in range(2):
    threading.Thread(target=sandbox.call, args=(sandboxed.sleep, Path(sys.argv[1]))).start()
"""


def test_a_service_that_is_killed_leaves_no_process_behind(clip: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(clip)], cwd=Path(__file__).parents[2]) as parent:
        watched = psutil.Process(parent.pid)
        until(lambda: len(watched.children(recursive=True)) == 3, 30)
        family = watched.children(recursive=True)
        parent.kill()
    gone, alive = psutil.wait_procs(family, timeout=10)
    assert len(gone) == 3 and not alive


def test_eight_threads_at_once_get_their_own_answers(decoder: Decoder, tmp_path: Path) -> None:
    paths = [moving_square(tmp_path / f"{number}.mp4", number, 1) for number in range(8)]
    expected = [read_video(path, **SIZE).frames for path in paths]
    barrier = threading.Barrier(8)

    def work(number: int) -> bool:
        barrier.wait()
        return all(
            np.array_equal(decoder.read(paths[number], **SIZE).frames, expected[number])
            and decoder.thumbnail(paths[number]) == thumbnail(paths[number])
            for _ in range(5)
        )

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))


@needs_confinement
def test_a_decoder_that_is_taken_over_gets_nowhere(sandbox: Sandbox, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes())
    (tmp_path / "secret").write_text("of others")
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        subprocess.Popen(["sleep", "60"]) as victim,
    ):
        port = listening.getsockname()[1]
        arguments = {"other": str(tmp_path / "secret"), "port": port, "victim": victim.pid}
        found, _ = sandbox.call(sandboxed.try_to_escape, path, **arguments)
        assert victim.poll() is None
        victim.kill()
    assert isinstance(found, dict)
    assert [name for name, outcome in found.items() if outcome == "done"] == ["read the file"]
    assert set(found.values()) == {"done", "PermissionError", "OSError"}
    assert {name for name, outcome in found.items() if outcome == "OSError"} == {"more files"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "secret"]


def test_a_decoder_sees_neither_the_service_s_variables_nor_its_files(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTIONTRACE_DATABASE_URL", "postgresql://user:secret@host/name")
    with (tmp_path / "open").open("w"), confining() as sandbox:
        variables, _ = sandbox.call(sandboxed.environment, clip)
        assert isinstance(variables, dict) and "PATH" in variables and "secret" not in str(variables)
        assert sandbox.call(sandboxed.open_files, clip)[0] == [0, 1, 2, 3]
        assert forkserver().num_threads() == 1  # a fork would leave the others' locks locked


@needs_confinement
def test_the_doctor_sees_each_protection_in_force() -> None:
    found = protections()
    assert len(found) == 7 and all(found.values())


@needs_confinement
@pytest.mark.parametrize(
    ("confinement", "held"),
    [
        ("landlock.restrict(path)", {"no other files", "no writing"}),
        ("seccomp.restrict()", {"no network", "no programs", "no processes", "no signals", "no writing"}),
        ("None", set()),
    ],
)
def test_each_confinement_does_its_part_and_the_probe_tells_when_it_lacks(
    clip: Path, confinement: str, held: set[str]
) -> None:
    program = (
        "import json, sys; from pathlib import Path; from service.sandbox import landlock, probe, seccomp; "
        f"path = Path(sys.argv[1]); {confinement}; print(json.dumps(probe.attempt(path)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", program, clip], capture_output=True, text=True, check=True)
    assert {name for name, is_held in json.loads(done.stdout).items() if is_held} == held


def answer_of(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!I", len(text)) + text + payload


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xff\xff\xff",
        answer_of(b"no JSON"),
        answer_of(b"[" * 100_000),
        answer_of({"bytes": -1}),
        answer_of({"bytes": 9}, bytes(9)),
        answer_of({"bytes": 8}, bytes(7)),
        answer_of({"bytes": "8"}, bytes(8)),
        answer_of({"result": None}),
        answer_of({"bytes": 0, "refused": {"code": "no_such_code", "message": ""}}),
        answer_of({"bytes": 0, "failed": {"code": "decoder_timeout", "detail": 7}}),
        answer_of({"bytes": 0, "more": 1}),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_crash(sandbox: Sandbox, clip: Path, answer: bytes) -> None:
    error = refusal(sandbox=sandbox, path=clip, function=sandboxed.send, most_bytes=8, answer=answer)
    assert error.code == "decoder_crashed"


def test_what_a_refusal_says_cannot_hold_control_characters(sandbox: Sandbox, clip: Path) -> None:
    answer = answer_of({"bytes": 0, "refused": {"code": "damaged", "message": "bad\x00\n\x1b[31m end"}})
    with pytest.raises(VideoError, match=r"^bad\?\?\?\[31m end$"):
        sandbox.call(sandboxed.send, clip, answer=answer)


INFO = {"width": 64, "height": 48, "frames": 12, "seconds": 1.0, "fps": 12.0, "codec": "h264", "container": "mov",
        "rotation": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"source_index": [0], "info": INFO}, 11),
        ({"source_index": [0, 1], "info": INFO}, 12),
        ({"source_index": [-1], "info": INFO}, 12),
        ({"source_index": [0], "info": INFO | {"codec": "h264\x00"}}, 12),
        ({"source_index": [0], "info": INFO | {"codec": "<script>"}}, 12),
        ({"source_index": [0], "info": INFO | {"fps": float("nan")}}, 12),
        ({"source_index": [0], "info": INFO | {"width": 1e9}}, 12),
        ({"source_index": [0], "info": INFO | {"path": "/"}}, 12),
        (None, 12),
    ],
)
def test_frames_that_were_not_asked_for_are_a_crash(
    decoder: Decoder, clip: Path, monkeypatch: pytest.MonkeyPatch, said: object, size: int
) -> None:
    def lie(sandbox: Sandbox, function: object, path: Path, most_bytes: int, **arguments: object) -> Any:
        return call(sandbox, sandboxed.send, path, most_bytes=most_bytes, answer=answer)

    call, answer = Sandbox.call, answer_of({"result": said, "bytes": size}, bytes(size))
    monkeypatch.setattr(Sandbox, "call", lie)
    with pytest.raises(DecoderError, match=r"clip\.mp4"):
        decoder.read(clip, frames=1, height=2, width=2)


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
    settings = ServiceSettings(home=tmp_path, max_upload_bytes=1, max_video_pixels=2, max_video_frames=3,
                               max_video_seconds=4.0, decoder_memory_bytes=1 << 28, decoder_cpu_seconds=5)  # fmt: skip
    limits = decoder_limits(settings)
    assert limits.video == VideoLimits(max_bytes=1, max_pixels=2, max_frames=3, max_seconds=4.0)
    assert (limits.memory_bytes, limits.cpu_seconds) == (1 << 28, 5) and limits.wall_seconds > 5
