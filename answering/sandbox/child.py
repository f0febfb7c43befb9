"""What a forked process does: gives up its rights, runs one function on one file, writes the answer, ends."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiontrace.answering.sandbox.confinement import confine
from motiontrace.answering.sandbox.protocol import LENGTH
from motiontrace.attribution.opencv import cv2
from motiontrace.attribution.video import VideoError

if TYPE_CHECKING:
    from motiontrace.answering.sandbox.protocol import Request

_PR_SET_PDEATHSIG = 1


def run(pickled: bytes, answer: int, parent: int) -> None:
    """Do what a pickled protocol.Request asks, and write to the file descriptor `answer`; `parent` has forked it.

    The answer is the header's length, the header in JSON, and as many bytes as its "bytes" says. The header has
    "result", or "refused" with a VideoError's code and message, or "failed" with a DecoderError's code and a detail.
    """
    _die_with(parent)
    answer = _keep_only(answer)
    request: Request = pickle.loads(pickled)  # before it is confined: it may import the function's module
    confine(request.path, memory_bytes=request.memory_bytes, cpu_seconds=request.cpu_seconds)
    header, payload = _outcome(request)
    header["bytes"] = len(payload)
    text = json.dumps(header).encode()
    for part in (LENGTH.pack(len(text)) + text, payload):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(answer, rest) :]


def _outcome(request: Request) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        result, payload = request.function(request.path, **request.arguments)
    except VideoError as error:
        # A file's name may hold what is no text.
        message = error.message.encode(errors="backslashreplace").decode()
        return {"refused": {"code": error.code, "message": message}}, b""
    except Exception as error:
        no_memory = isinstance(error, MemoryError) or (
            isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
        )
        code = "decoder_out_of_memory" if no_memory else "decoder_crashed"
        return {"failed": {"code": code, "detail": f"{type(error).__name__}: {error}"[:500]}}, b""
    return {"result": result}, memoryview(payload).cast("B")


def _die_with(parent: int) -> None:
    """Be killed when the parent ends, however it ends. Linux only; elsewhere the limits end this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)


def _keep_only(answer: int) -> int:
    """Close all files but `answer`, other calls' among them; its new number. What is printed goes nowhere."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.dup2(answer, 3)
    os.closerange(4, 1 + max(int(each.name) for each in Path("/dev/fd").iterdir()))
    return 3
