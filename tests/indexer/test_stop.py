"""A run that is stopped ends within seconds, whatever a decoder waits for."""

import os
import signal
import time

import pytest

import motiontrace.cli  # noqa: F401 - so that processes are forked with it
from motiontrace.indexer import inspection, run
from tests import processes
from tests.indexer.runs import entries, write_manifest
from tests.service.asking import until
from tests.videos import moving_square

NAMES = ["right", "left", "waits", "up"]


def index_with_a_clip_that_waits(arguments, output, errors, pipe):
    """motiontrace index, where the decoder of the clip "waits" waits for ever, in the kernel: `pipe` has no writer.

    Beside the pipe, `waiting` appears when it does, and a file for each row that is finished.
    """
    read, finished = inspection.read_video, run._Run._finished

    def waiting(path, **how):
        if path.stem == "waits":
            pipe.with_name("waiting").touch()
            pipe.read_bytes()
        return read(path, **how)

    def told(self, result, **how):
        finished(self, result, **how)
        pipe.with_name(f"finished-{sum(self.summary.results.values())}").touch()

    inspection.read_video, run._Run._finished = waiting, told
    processes._command(arguments, pipe.parent, {}, output, errors)


@pytest.mark.parametrize("measured", [True, False])
def test_sigterm_ends_a_run_whose_decoder_waits_and_keeps_what_is_finished(tmp_path, model, measured):
    home, folder, files = tmp_path / "home", tmp_path / "clips", (tmp_path / "output", tmp_path / "errors")
    folder.mkdir()
    for number, name in enumerate(NAMES):
        moving_square(folder / f"{name}.mp4", 2 - number, 1)
    write_manifest(folder, NAMES)
    os.mkfifo(tmp_path / "pipe")
    arguments = [
        "index",
        str(folder),
        "--model",
        str(model),
        "--index",
        "test",
        "--home",
        str(home),
        "--batch",
        "1",
        "--basis-clips",
        "0",
        "--gradient-normalisation",
        "tensors" if measured else "none",
    ]
    process = processes.start(index_with_a_clip_that_waits, arguments, *files, tmp_path / "pipe")
    for name in ["waiting"] if measured else ["waiting", "finished-2"]:
        until(lambda name=name: (tmp_path / name).exists() or process.exitcode is not None, processes.SECONDS)
    start = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    process.join(processes.SECONDS)
    assert process.exitcode == 143, files[1].read_text()
    assert time.monotonic() - start < 30  # a few, on a machine that has nothing else to do
    if not measured:
        assert {clip_id for clip_id, entry in entries(home).items() if entry.outcome == "indexed"} == {"right", "left"}
