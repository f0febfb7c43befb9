"""What clips' files are called, and names of new ones made from clips' ids, which may hold whatever an address can."""

from __future__ import annotations

import hashlib
import re
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STEM = 80  # characters of an id that a name keeps: it is for people, and a path has bounds
DIGEST = 10  # hex digits that tell apart ids of the same letters
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?")  # no files to Windows
SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_OF_TABLES = {".txt", ".json", ".jsonl", ".csv", ".parquet"}


class Names:
    """Gives clips names that every system takes as a file's: a-z, 0-9, dot, underscore and hyphen.

    An id that is such a name is its own. Any other keeps what it can and gets a digest of itself, so that two of them
    never share a name, be it on a system that takes capital letters and small ones for the same.
    """

    def __init__(self) -> None:
        self._given: dict[str, str] = {}  # clip ids by name

    def of(self, clip_id: str) -> str:
        """The name of a clip, without a suffix; the same each time."""
        return next(name for name in names_of(clip_id) if self._given.setdefault(name, clip_id) == clip_id)


def file_name(path: str) -> str:
    """A file's own name, of its path."""
    return PurePath(path).name


def suffix(path: str) -> str:
    """The suffix of a video's path, by which tools know what they read; ".mp4" where it is none that they could."""
    found = PurePath(path).suffix.lower()
    return found if is_suffix(found) else ".mp4"


def is_suffix(found: str) -> bool:
    """Whether a suffix, in small letters, may be a video's: not that of the texts and tables beside videos."""
    return SUFFIX.fullmatch(found) is not None and found not in _OF_TABLES


def names_of(clip_id: str) -> Iterator[str]:
    """Names for a clip, the best first, for who sees by other means which are taken.

    The second and later ones are for when an id was made to look like another one's name.
    """
    letters, digest = _letters(clip_id), hashlib.sha256(clip_id.encode()).hexdigest()
    yield letters if letters == clip_id else f"{letters}-{digest[:DIGEST]}"
    for number in count(1):
        yield f"{letters}-{digest}-{number}"


def _letters(clip_id: str) -> str:
    """What of an id can be in a name: neither hidden, nor an option of a command, nor ending in what Windows drops."""
    letters = re.sub(r"[^a-z0-9._-]+", "_", clip_id.lower())[:STEM].strip(".-") or "clip"
    return f"_{letters}" if DEVICES.fullmatch(letters) else letters
