"""What a decoder that is taken over cannot do, and what its answers are checked for."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.answering.sandbox import Decoder, DecoderError, protections
from motiontrace.answering.sandbox.sandbox import Sandbox
from motiontrace.attribution.video import VideoError
from tests.answering import sandboxed
from tests.answering.sandbox.confined import confining, forkserver, needs_confinement, refusal

if TYPE_CHECKING:
    from pathlib import Path


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
        "import json, sys; from pathlib import Path; "
        "from motiontrace.answering.sandbox import landlock, probe, seccomp; "
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


INFO = {
    "width": 64,
    "height": 48,
    "frames": 12,
    "seconds": 1.0,
    "fps": 12.0,
    "codec": "h264",
    "container": "mov",
    "rotation": 0,
}


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
