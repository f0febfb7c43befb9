"""The warm process: all that decoding needs is loaded, so that a call costs a fork and not a start.

One thread, which only forks and waits. It ends with the service, at the latest when that end of its socket is closed
by the service's death, and its children end with it.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from av.audio.codeccontext import AudioCodecContext
from av.subtitles.codeccontext import SubtitleCodecContext

from motiontrace.answering.sandbox import child, tasks
from motiontrace.answering.sandbox.protocol import LENGTH, STARTED, STATUS
from motiontrace.attribution.video import read_video, thumbnail

# Imported for the children's sake. PyAV would import the contexts when it meets sound or subtitles.
__all__ = ["AudioCodecContext", "SubtitleCodecContext", "main", "tasks"]


def main(descriptor: int) -> None:
    """Serve calls that come over the socket `descriptor` until its other end is closed.

    A call is the length of a pickled protocol.Request together with two file descriptors, then the request. Its child
    writes to the first. On the second, a socket, this process says STARTED and, when the child has ended, STATUS;
    if the other end is closed before, it kills the child.
    """
    _rehearse()
    gc.collect()
    gc.freeze()  # leaves the pages shared: a collection in a child would write to every object
    with socket.socket(fileno=descriptor) as control:
        _Server(control).serve()


def _rehearse() -> None:
    """Decode a raw video of 16x16 pixels: some libraries load parts of themselves only then, and no child can."""
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(b"YUV4MPEG2 W16 H16 F25:1 C420\n" + (b"FRAME\n" + bytes(16 * 16 * 3 // 2)) * 2)
        read_video(path, frames=2, height=8, width=8)
        thumbnail(path)


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}  # by process id, until the child has been waited for
        self._ended, wake = socket.socketpair()
        self._ended.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # else the socket below would not hear of it
        signal.set_wakeup_fd(wake.fileno())

    def serve(self) -> None:
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._control:
                        if not self._start():
                            return
                    elif key.fileobj is self._ended:
                        self._report()
                    elif key.data in self._children:
                        self._abandon(key.data)
        finally:
            for process in self._children:
                os.kill(process, signal.SIGKILL)

    def _start(self) -> bool:
        """Fork for the call that has come; False when there will be no more."""
        head, descriptors, _, _ = socket.recv_fds(self._control, LENGTH.size, 2)
        if len(head) < LENGTH.size or len(descriptors) < 2:
            return False
        request = bytearray()
        (length,) = LENGTH.unpack(head)
        while len(request) < length:
            if not (part := self._control.recv(length - len(request))):
                return False
            request += part
        answer, call = descriptors[0], socket.socket(fileno=descriptors[1])
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError:  # too many processes, say: the caller sees both closed, and no status
            os.close(answer)
            call.close()
            return True
        if process == 0:
            _become_child(bytes(request), answer, parent)
        os.close(answer)
        self._children[process] = call
        self._selector.register(call, selectors.EVENT_READ, process)
        with suppress(OSError):  # hung up already: the selector says so next
            call.sendall(STARTED)
        return True

    def _report(self) -> None:
        """Wait for the children that have ended and tell their callers."""
        with suppress(BlockingIOError):
            self._ended.recv(4096)
        while self._children:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            with self._children.pop(process) as call:
                with suppress(KeyError):  # abandoned
                    self._selector.unregister(call)
                with suppress(OSError):
                    call.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))

    def _abandon(self, process: int) -> None:
        """The caller waits no longer."""
        self._selector.unregister(self._children[process])
        os.kill(process, signal.SIGKILL)


def _become_child(request: bytes, answer: int, parent: int) -> None:
    """In the forked process; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child.run(request, answer, parent)
        code = 0
    finally:
        os._exit(code)
