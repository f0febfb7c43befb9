"""One function, one file, one process that can do nothing else: the service's side of it."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from motiontrace.answering.errors import NO_DESCRIPTORS, NO_ROOM
from motiontrace.answering.sandbox.call import BrokenOffError, Call
from motiontrace.answering.sandbox.confinement import missing
from motiontrace.answering.sandbox.limits import DecoderError
from motiontrace.answering.sandbox.protocol import LENGTH, Request
from motiontrace.attribution.video import VideoError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import JsonValue

    from motiontrace.answering.sandbox.protocol import Answer

CLOSE_SECONDS = 5.0
LEAST_AT_ONCE = 4  # thumbnails take two at most, and do not keep a query waiting
# The fork server gets no more of the environment: the rest may hold passwords, and its children are not trusted.
KEPT_VARIABLES = ("PATH", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONUTF8")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # to be forked safely
log = logging.getLogger(__name__)


class Sandbox:
    """Runs functions in confined processes, one a processor at once. Safe to share between threads."""

    def __init__(self, *, memory_bytes: int, cpu_seconds: int, wall_seconds: float) -> None:
        """Each call has `memory_bytes` beside what the libraries take, and so many seconds."""
        self._memory_bytes, self._cpu_seconds, self._wall_seconds = memory_bytes, cpu_seconds, wall_seconds
        self._slots = threading.BoundedSemaphore(max(LEAST_AT_ONCE, os.cpu_count() or 1))
        self._lock = threading.Lock()
        self._closed = False
        self._server = _ForkServer()
        if lacking := missing():
            log.warning("videos are decoded with less protection: this machine has not %s", " and not ".join(lacking))

    def call(
        self, function: Callable[..., Answer], path: Path, *, most_bytes: int = 0, **arguments: Any
    ) -> tuple[JsonValue, NDArray[np.uint8]]:
        """Call `function(path, **arguments)`, of a module's top level, and take the JSON and bytes that it returns.

        The process may have been taken over by the file: any JSON and any bytes up to `most_bytes` can come.

        Raises:
            VideoError: as the function does.
            DecoderError: it did not finish.
        """
        request = Request(function, path, arguments, self._memory_bytes, self._cpu_seconds)
        with self._slots, Call() as call:
            try:
                server = self._send(pickle.dumps(request), call)
            except OSError as error:
                if error.errno in NO_DESCRIPTORS | NO_ROOM:  # no fault of the file
                    raise
                self._crashed(path, f"no decoder can be started: {error}")
            try:
                call.wait_for_start()
            except TimeoutError:
                server.kill()  # it hangs; the next call starts another
                self._crashed(path, "the process that starts decoders hung")
            try:
                answer = call.answer(time.monotonic() + self._wall_seconds, most_bytes)
            except TimeoutError:
                self._timed_out(path, self._wall_seconds)
            except BrokenOffError as error:
                if error.status == -signal.SIGXCPU:
                    self._timed_out(path, self._cpu_seconds)
                self._crashed(path, str(error))
        header, payload = answer
        if header.refused is not None:
            message = "".join(each if each.isprintable() else "?" for each in header.refused.message)
            raise VideoError(header.refused.code, message)
        if header.failed is not None:
            if header.failed.code == "decoder_out_of_memory":
                raise DecoderError(
                    "decoder_out_of_memory",
                    f"Decoding {path.name} takes more than {self._memory_bytes:,} bytes of memory. "
                    "Scale the video down or cut it into shorter clips.",
                )
            self._crashed(path, header.failed.detail)
        return header.result, payload

    def close(self) -> None:
        """End all processes; calls under way and later ones raise DecoderError, decoder_closed."""
        with self._lock:
            self._closed = True
            self._server.close()

    def _send(self, request: bytes, call: Call) -> _ForkServer:
        """Pass a call on, to a new fork server if the last one has died."""
        with self._lock:
            self._check_open()
            try:
                self._server.send(request, call)
            except OSError:
                log.warning("the process that starts decoders has ended (%s) and is started again", self._server.end())
                self._server = _ForkServer()
                self._server.send(request, call)
            call.sent()
            return self._server

    def _check_open(self) -> None:
        if self._closed:
            raise DecoderError("decoder_closed", "The service is ending. Send the request again when it is back.")

    def _crashed(self, path: Path, why: str) -> NoReturn:
        self._check_open()
        log.warning("the decoder of %s did not finish: %r", path, why)
        raise DecoderError(
            "decoder_crashed",
            f"The decoder broke down on {path.name}; the file may be damaged. Check that it plays, "
            "and convert it to H.264 in MP4 if it does.",
        )

    def _timed_out(self, path: Path, seconds: float) -> NoReturn:
        raise DecoderError(
            "decoder_timeout",
            f"Decoding {path.name} takes longer than {seconds:g} seconds. "
            "Scale the video down or cut it into shorter clips.",
        )


class _ForkServer:
    """The warm process, from the outside. It ends when this end of its socket is closed, by whatever."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            program = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"from motiontrace.answering.sandbox.forkserver import main; main({theirs.fileno()})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=ONE_THREAD | {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
                start_new_session=True,  # Ctrl-C is the service's
            )

    def send(self, request: bytes, call: Call) -> None:
        """Pass a call on; raises OSError when the process is no more."""
        socket.send_fds(self._control, [LENGTH.pack(len(request))], call.theirs)
        self._control.sendall(request)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Make sure that the process has ended; its exit code."""
        self._control.close()
        self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """Let the process end its children and itself."""
        self._control.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()
