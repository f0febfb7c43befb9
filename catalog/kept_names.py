"""Names for copies of clips' files in one folder: the files' own, made safe for every system, and each one's alone."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING

from motiontrace.formats.file_names import DEVICES, DIGEST, is_suffix

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES = 150  # of a name: what trainers keep beside a video has longer ones, and a name has 255 at most
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')  # to Windows
# Hugging Face datasets takes files for another split whose name has one of these words (datasets.data_files).
_SPLIT = re.compile(
    r"((?:^|[-._ 0-9])(?:train|training|validation|valid|dev|val|test|testing|eval|evaluation))(?=[-._ 0-9])"
)


class KeptNames:
    """Gives files names, without suffixes, of which no two are the same to any system.

    A name that is taken gets a digest of the clip's id: by another file of that name, in another folder, with other
    capital letters, or with accents written otherwise.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, path: str, clip_id: str) -> str:
        """A new name for the file of a clip; its `path` says how the file is called."""
        for name in _names(_stem(path), clip_id):
            if (key := _as_any_system_sees(name)) not in self._taken:
                self._taken.add(key)
                return name
        raise AssertionError("names are without end")


def _names(stem: str, clip_id: str) -> Iterator[str]:
    digest = hashlib.sha256(clip_id.encode()).hexdigest()
    if len(stem.encode()) <= BYTES:
        yield _no_split(stem)
    base = _no_split(_cut(stem, BYTES - DIGEST - 1))
    yield f"{base}-{digest[:DIGEST]}"
    for number in count(2):
        yield f"{base}-{digest[:DIGEST]}-{number}"


def _stem(path: str) -> str:
    """A file's name without its suffix, so that every system takes it, and no reader of folders makes more of it."""
    name = PurePath(path).name
    name = PurePath(name).stem if is_suffix(PurePath(name).suffix.lower()) else name
    shown = "".join(each if each.isprintable() else "_" for each in unicodedata.normalize("NFC", name))
    # Neither hidden, nor an option of a command, nor ending in what Windows drops.
    stem = _FORBIDDEN.sub("_", shown).lstrip(" .-~").rstrip(" .") or "clip"
    return f"_{stem}" if DEVICES.fullmatch(stem.casefold()) else stem


def _no_split(stem: str) -> str:
    """A name, or the beginning of one, that no reader takes for a split's."""
    return _SPLIT.sub(r"\1~", f"{stem}.").removesuffix(".")


def _cut(stem: str, size: int) -> str:
    """The beginning of a name, of so many bytes at most."""
    return stem.encode()[:size].decode(errors="ignore").rstrip(" .")


def _as_any_system_sees(name: str) -> str:
    """What is the same of two names that some system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
