"""A decoder that crashes, hangs, takes too much or is killed costs its own call only."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from motiontrace.answering.sandbox import Decoder, DecoderError
from motiontrace.attribution.video import read_video, thumbnail
from tests.answering import sandboxed
from tests.answering.sandbox.confined import MEMORY, SIZE, confining, decoding, forkserver, refusal, running_child
from tests.attribution import videos
from tests.service.asking import until
from tests.videos import moving_square

if TYPE_CHECKING:
    from motiontrace.answering.sandbox.sandbox import Sandbox


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
        monkeypatch.setattr("motiontrace.answering.sandbox.call.START_SECONDS", 0.2)
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
from motiontrace.answering.sandbox.sandbox import Sandbox
from tests.answering import sandboxed

sandbox = Sandbox(memory_bytes=1 << 28, cpu_seconds=60, wall_seconds=60)
for _ in range(2):
    threading.Thread(target=sandbox.call, args=(sandboxed.sleep, Path(sys.argv[1]))).start()
"""


def test_a_service_that_is_killed_leaves_no_process_behind(clip: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(clip)], cwd=Path(__file__).parents[3]) as parent:
        watched = psutil.Process(parent.pid)
        until(lambda: len(watched.children(recursive=True)) == 3, 30)
        family = watched.children(recursive=True)
        parent.kill()
    until(lambda: all(map(has_ended, family)), 10)


def has_ended(process: psutil.Process) -> bool:
    """Also where nobody waits for orphans, as in a container without an init: they stay there as zombies."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


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
