"""Runs that are stopped or killed, and started again; and runs of two processes."""

import json
import multiprocessing
import os
import signal
import socket
from collections import Counter
from contextlib import suppress

import pytest
import torch

from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.settings import CheckpointSettings
from tests import processes
from tests.curation.finetuning.runs import Heard, run, summary, trained

STEPS = 12
OFTEN = CheckpointSettings(checkpointing_steps=2)
SETTINGS = {"train_steps": STEPS, "learning_rate": 0.01, "caption_dropout_p": 0.3, "lr_scheduler": "cosine"}


class Telling(Heard):
    """Says what it hears of, and stays where it says `held[0]` for the `held[1]`-th time, to be killed there."""

    def __init__(self, pipe, held):
        super().__init__()
        self.pipe, self.held, self.said = pipe, held, Counter()

    def say(self, word):
        self.pipe.send(word)
        self.said[word] += 1
        if self.held == (word, self.said[word]):
            signal.pause()

    def encoded(self, broken, kept):
        self.say("clip")

    def training(self, clips, parameters, first):
        self.say(f"from {first}")

    def stepped(self, done, loss, learning_rate):
        self.say("step")


def train(clips, model, output, training_type, pipe, held):
    """A whole run; `held`: where it stays, None: nowhere."""
    torch.set_num_threads(1)
    listener = Telling(pipe, held)
    run(
        clips,
        model,
        output,
        training_type=training_type,
        listener=listener,
        options={"when": OFTEN, "cache": None},
        **SETTINGS,
    )


def until_it_ends(said):
    with suppress(EOFError):
        while True:
            yield said.recv()


@pytest.mark.parametrize(
    ("family", "training_type", "kills"),
    [
        ("wan", "lora", [("clip", 2), ("step", 3), ("from 2", 1), ("step", STEPS - 2)]),
        ("cogvideox", "full", [("step", 7)]),
    ],
)
def test_killed_runs_end_in_the_weights_of_an_undisturbed_one(family, training_type, kills, clips, tmp_path, request):
    """SIGKILL while clips are encoded, between steps and after the last: weights and losses equal to the last bit."""
    model = request.getfixturevalue(family)

    def start(output, held):
        said, report = multiprocessing.Pipe(duplex=False)
        process = processes.start(train, clips, model, tmp_path / output, training_type, report, held)
        report.close()  # so that the end of the process ends what it says
        return process, until_it_ends(said)

    def finish(output):
        process, said = start(output, held=None)
        everything = list(said)
        process.join()
        assert process.exitcode == 0
        return everything

    assert finish("undisturbed").count("step") == STEPS
    for word, times in kills:
        process, said = start("killed", held=(word, times))
        heard = Counter()
        while heard[word] < times and (each := next(said, None)):
            heard[each] += 1
        process.kill()
        process.join()
        assert (process.exitcode, heard[word]) == (-signal.SIGKILL, times)
    [beginning] = [word for word in finish("killed") if word.startswith("from")]
    assert beginning == ("from 12" if training_type == "lora" else "from 6")
    first, second = (trained(tmp_path / output) for output in ("undisturbed", "killed"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert summary(tmp_path / "undisturbed")["losses"] == summary(tmp_path / "killed")["losses"]
    left = [
        {
            str(path.relative_to(tmp_path / output))
            for path in (tmp_path / output).rglob("*")
            if "cache" not in path.parts
        }
        for output in ("undisturbed", "killed")
    ]
    assert left[0] == left[1]


def test_stopped_run_saves_a_checkpoint_and_goes_on(clips, wan, tmp_path):
    whole = run(clips, wan, tmp_path / "whole", **SETTINGS)
    listener = Heard()
    with pytest.raises(KeyboardInterrupt):
        run(
            clips,
            wan,
            tmp_path / "out",
            listener=listener,
            **SETTINGS,
            options={"stop": lambda: len(listener.steps) == 4},
        )
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000005"]
    assert summary(tmp_path / "out")["status"] == "running"
    again = Heard()
    result = run(clips, wan, tmp_path / "out", listener=again, **SETTINGS)
    assert (again.first, again.steps[0][0]) == (5, 6)
    assert result.losses == whole.losses


def test_checkpoints_come_by_steps_and_by_the_clock_and_old_ones_go(clips, wan, tmp_path):
    def left(output, stop, **when):
        listener = Heard()
        with pytest.raises(KeyboardInterrupt):
            run(
                clips,
                wan,
                tmp_path / output,
                listener=listener,
                **SETTINGS,
                options={"when": CheckpointSettings(**when), "stop": lambda: len(listener.steps) == stop - 1},
            )
        return sorted(path.name for path in (tmp_path / output / "checkpoints").iterdir())

    assert left("steps", 7, checkpointing_steps=2, checkpoints_total_limit=3) == [
        "step-00000004",
        "step-00000006",
        "step-00000007",
    ]
    often = left("clock", 4, checkpointing_minutes=1e-9, checkpoints_total_limit=9)
    assert often == [f"step-{step:08d}" for step in range(1, 5)]


def test_run_that_goes_on_with_other_settings_or_clips_is_refused(clips, wan, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(clips, wan, tmp_path / "out", options={"stop": lambda: True}, **SETTINGS)
    with pytest.raises(FinetuningError, match=r"made otherwise \(learning_rate: 0\.01 then, 0\.02 now\)"):
        run(clips, wan, tmp_path / "out", **SETTINGS | {"learning_rate": 0.02})
    rows = (clips / "metadata.jsonl").read_text().splitlines()[:3]
    (tmp_path / "fewer.jsonl").write_text("\n".join(rows).replace('"file_name": "', f'"file_name": "{clips}/'))
    with pytest.raises(FinetuningError, match=r"manifest_sha256: \w+ then, \w+ now"):
        run(tmp_path / "fewer.jsonl", wan, tmp_path / "out", **SETTINGS)


def test_damaged_checkpoint_is_told(clips, wan, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(clips, wan, tmp_path, options={"stop": lambda: True}, **SETTINGS)
    (tmp_path / "checkpoints/step-00000001/optimizer.pt").write_bytes(b"damaged")
    with pytest.raises(FinetuningError, match=r"step-00000001 is damaged \(\w+\)\. Delete it"):
        run(clips, wan, tmp_path, **SETTINGS)


def test_second_run_in_the_same_folder_is_refused(clips, wan, tmp_path):
    class Nosy(Heard):
        def training(self, count, parameters, first):
            with pytest.raises(FinetuningError, match="another run is writing to"):
                run(clips, wan, tmp_path, **SETTINGS)

    run(clips, wan, tmp_path, listener=Nosy(), **SETTINGS | {"train_steps": 1})


def share(clips, model, output, rank, port):
    """One of two processes, as torchrun and accelerate launch start them."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    run(clips, model, output, batch_size=1, gradient_accumulation_steps=2, **SETTINGS)


def test_two_processes_take_the_steps_of_one(clips, wan, tmp_path):
    (tmp_path / "clips").mkdir()
    rows = [json.loads(line) for line in (clips / "metadata.jsonl").read_text().splitlines()]
    rows = [row | {"file_name": str(clips / row["file_name"])} for row in rows]
    rows.insert(1, {"file_name": "gone.mp4", "caption": "gone"})  # in the second one's share
    folder = tmp_path / "clips"
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one = run(folder, wan, tmp_path / "one", batch_size=4, **SETTINGS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [processes.start(share, folder, wan, tmp_path / "two", rank, port) for rank in range(2)]
    for process in both:
        process.join(processes.SECONDS)
    assert [process.exitcode for process in both] == [0, 0]
    assert summary(tmp_path / "two")["processes"] == 2
    assert [clip["name"] for clip in summary(tmp_path / "two")["broken"]] == ["gone.mp4"]
    assert summary(tmp_path / "two")["losses"] == pytest.approx(one.losses, rel=1e-5)
    for name, tensor in trained(tmp_path / "one").items():
        assert torch.allclose(trained(tmp_path / "two")[name], tensor, atol=1e-4)
