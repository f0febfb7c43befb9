"""motiontrace finetune as a command."""

import os
import signal
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from motiontrace.commands.finetuning import print_finetuned
from motiontrace.curation.finetuning.run import Finetuned
from motiontrace.curation.finetuning.settings import FinetuneSettings
from tests import processes
from tests.curation.finetuning.runs import LORA, summary, write_rows


def command(clips, model, output, *more):
    return ("finetune", clips, "--model", model, "--output", output, "--rank", 4, "--device", "cpu", *more)


def test_command_trains_and_says_how_to_load_what_it_made(clips, wan, tmp_path):
    (tmp_path / "clips").mkdir()
    rows = [{"file_name": str(clips / f"{number}.mp4"), "caption": "a ball", "weight": number} for number in range(3)]
    folder = write_rows(tmp_path / "clips", [*rows, {"file_name": "gone.mp4", "caption": "gone"}])
    (tmp_path / "motiontrace.toml").write_text('train_steps = 3\nlearning_rate = 0.5\ntarget_modules = ["to_q"]\n')
    done = processes.run_command(
        *command(folder, wan, tmp_path / "out"), cwd=tmp_path, MOTIONTRACE_LEARNING_RATE="0.002"
    )
    assert done.returncode == 0, done.stderr
    assert "3 clips (1 of weight 0 are left out) of 5 frames of 32x32, 1 a step, 3 steps of lora" in done.stdout
    assert f"clip 4 (gone.mp4) is left out: {folder}/gone.mp4 does not exist" in done.stdout
    assert "3 steps on 2 clips in" in done.stdout
    assert f"LoRA in {tmp_path / 'out'}: pipeline.load_lora_weights('{tmp_path / 'out'}')" in done.stdout
    assert (tmp_path / "out" / LORA).exists()
    settings = summary(tmp_path / "out")["settings"]
    assert settings["optimizer"]["learning_rate"] == 0.002
    assert settings["lora"]["target_modules"] == ["to_q"]
    again = processes.run_command(*command(folder, wan, tmp_path / "out"), "--seed", 1, "--train-steps", 3)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: {tmp_path / 'out'} holds a run that was made otherwise (")
    assert "seed: 42 then, 1 now" in again.stderr


@pytest.mark.parametrize("settings", [FinetuneSettings(), FinetuneSettings(training_type="full", lora=None)])
def test_folders_are_told_as_they_are_named(settings):
    console = Console(file=StringIO(), width=200)
    print_finetuned(console, Path("runs[a]"), Finetuned(settings, 1, [], [0.5], 1.0, already=True))
    assert console.file.getvalue().count("runs[a]") == 3


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_command_saves_a_checkpoint_when_it_is_asked_to_stop(asked, clips, wan, tmp_path):
    output = tmp_path / "out"
    files = {name: tmp_path / name for name in ("output", "errors")}
    process = processes.start_command(
        *command(clips, wan, output, "--train-steps", 1_000_000, "--checkpointing-steps", 3), **files
    )
    while not (output / "checkpoints").exists() and process.exitcode is None:
        time.sleep(0.02)
    os.kill(process.pid, asked)
    process.join(processes.SECONDS)
    errors = files["errors"].read_text()
    assert process.exitcode == 128 + asked, errors
    assert f"the last checkpoint, are kept in {output}. To go on: motiontrace finetune {clips} " in errors
    assert "stopping after this step" in files["output"].read_text()
    [checkpoint] = (output / "checkpoints").iterdir()
    assert checkpoint.name > "step-00000003"
    assert summary(output)["status"] == "running"
