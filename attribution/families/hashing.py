"""Digests of large files, each computed once for all processes of a user.

A digest is remembered under the user's cache folder, in a small file for each hashed one, with the path, size, times
and inode that the file had. Where one of them has changed, the file is read again. No digest is taken from a name.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from motiontrace.attribution.errors import ModelError
from motiontrace.files import FileError, check_file, file_sha256, home_expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_SETTLED = 0.02  # seconds: what has just changed may change again before the clock of its file system moves on
_in_memory: dict[str, dict[str, Any]] = {}  # for homes that cannot be written


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits. Raises ModelError where it cannot be read, or changes meanwhile."""
    return _digest("sha256", file, file_sha256)


def xet_hash_of(file: Path) -> str | None:
    """The hash by which the Hugging Face hub's storage, Xet, names a file's content: 64 hex digits.

    None where the package hf_xet is not installed. Raises ModelError as `sha256_of`.
    """
    try:
        import hf_xet
    except ImportError:
        return None
    return _digest("xet", file, lambda path: str(hf_xet.hash_files([str(path)])[0].hash))


def cache_folder() -> Path:
    """Where this user's digests are kept: `motiontrace/digests` in XDG_CACHE_HOME, or in `~/.cache`."""
    return home_expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "motiontrace" / "digests"


def _digest(kind: str, file: Path, compute: Callable[[Path], str]) -> str:
    content = {"kind": kind, **_content(file)}
    name = hashlib.sha256(os.fsencode(f"{kind}:{content['path']}")).hexdigest()[:40]
    note = cache_folder() / f"{name}.json"
    if known := _known(content, _in_memory.get(name)) or _known(content, _read(note)):
        return known
    with ExitStack() as stack:
        with suppress(OSError):  # a home that cannot be written, or a file system without locks
            note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened = stack.enter_context(note.open("a"))
            fcntl.flock(opened, fcntl.LOCK_EX)  # processes that start together wait for the first
            if known := _known(content, _read(note)):
                return known
        try:
            digest = compute(file)
        except OSError as error:
            raise ModelError(f"{file} could not be read: {error.strerror or error}") from error
        if {"kind": kind, **_content(file)} != content:
            raise ModelError(f"{file} changed while it was read. Wait until it is written, and try again.")
        if time.time() - max(content["mtime_ns"], content["ctime_ns"]) / 1e9 > _SETTLED:
            _in_memory[name] = {**content, "digest": digest}
            with suppress(OSError):  # no room: it is read again another time
                note.write_text(json.dumps(_in_memory[name]))
        return digest


def _content(file: Path) -> dict[str, Any]:
    """What tells one content of a file from others without reading it."""
    try:
        status = check_file(file)
    except FileError as error:
        raise ModelError(f"{error}. Copy the checkpoint again.") from error
    return {
        "path": str(file.resolve()),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev,
    }


def _known(content: Mapping[str, Any], remembered: Mapping[str, Any] | None) -> str | None:
    """The digest that is remembered, if it is of this content."""
    digest = (remembered or {}).get("digest")
    valid = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None
    return digest if valid and remembered == {**content, "digest": digest} else None


def _read(note: Path) -> Mapping[str, Any] | None:
    """What a note says; None where it is not there, or a killed process has left half of it."""
    try:
        values = json.loads(note.read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
