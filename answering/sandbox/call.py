"""One call's way to the fork server and its answer's way back."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from motiontrace.answering.sandbox.protocol import LENGTH, STARTED, STATUS
from motiontrace.attribution.video import VideoErrorCode

if TYPE_CHECKING:
    from numpy.typing import NDArray

START_SECONDS = 60.0  # for the fork server to load its libraries, on the busiest machine
MOST_HEADER_BYTES = 1 << 20
PIPE_BYTES = 1 << 20
_SIGNALS = {each.value: each.name for each in signal.Signals}  # not all: a child may send itself one without a name


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Refused(_Part):
    code: VideoErrorCode
    message: str = Field(max_length=10_000)


class _Failed(_Part):
    code: Literal["decoder_crashed", "decoder_out_of_memory"]
    detail: str = Field(max_length=500)


class Header(_Part):
    """What a child may say."""

    result: JsonValue = None
    refused: _Refused | None = None
    failed: _Failed | None = None
    bytes: int = Field(ge=0)


class BrokenOffError(Exception):
    """No whole answer; `status` is the child's exit code, negative for a signal, None if nobody knows."""

    def __init__(self, reason: str, status: int | None) -> None:
        super().__init__(reason)
        self.status = status


class Call:
    """One call's ends: a pipe that the child answers by, and a socket on which the fork server tells of the child.

    Closing them ends the child.
    """

    def __init__(self) -> None:
        self._socket, self._their_socket = socket.socketpair()
        self._pipe, self._their_pipe = os.pipe()
        self._open = [self._pipe, self._their_pipe]
        with suppress(OSError, AttributeError):  # Linux: a message of 100 MB is read in fewer turns
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._their_socket.close()
        self._socket.close()
        for descriptor in self._open:
            os.close(descriptor)

    @property
    def theirs(self) -> list[int]:
        """The file descriptors that the fork server gets."""
        return [self._their_pipe, self._their_socket.fileno()]

    def sent(self) -> None:
        """The others have their ends: when they close them, this side has to see it."""
        self._their_socket.close()
        self._open.remove(self._their_pipe)
        os.close(self._their_pipe)

    def wait_for_start(self) -> None:
        """Until the child has been forked, or the fork server died; raises TimeoutError."""
        self._socket.settimeout(START_SECONDS)
        with suppress(ConnectionError):
            self._socket.recv(len(STARTED))

    def answer(self, deadline: float, most_bytes: int) -> tuple[Header, NDArray[np.uint8]]:
        """The child's answer, once it has ended; raises TimeoutError at the deadline, and BrokenOffError."""
        try:
            (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline).tobytes())
            if length > MOST_HEADER_BYTES:
                raise BrokenOffError("its answer is too long", None)
            header = Header.model_validate_json(self._read(length, deadline).tobytes())
            if header.bytes > most_bytes:
                raise BrokenOffError("its answer is too long", None)
            payload = self._read(header.bytes, deadline)
        except ValidationError as error:
            raise BrokenOffError(f"its answer makes no sense: {error.errors()[0]['msg']}", None) from error
        except EOFError as error:
            raise self._broken_off(self._status(deadline)) from error
        if status := self._status(deadline):
            raise self._broken_off(status)
        return header, payload

    def _read(self, size: int, deadline: float) -> NDArray[np.uint8]:
        data = np.empty(size, np.uint8)
        rest = data.data
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while rest:
            if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            if not (count := os.readv(self._pipe, [rest])):
                raise EOFError
            rest = rest[count:]
        return data

    def _status(self, deadline: float) -> int | None:
        """How the child has ended; None if the fork server died before it could tell."""
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            status = self._socket.recv(STATUS.size)
        except ConnectionError:
            status = b""
        return STATUS.unpack(status)[0] if len(status) == STATUS.size else None

    def _broken_off(self, status: int | None) -> BrokenOffError:
        if status is None:
            return BrokenOffError("it could not be started, or the process that starts decoders ended", None)
        how = f"killed by {_SIGNALS.get(-status, -status)}" if status < 0 else f"ended with exit code {status}"
        return BrokenOffError(how, status)
