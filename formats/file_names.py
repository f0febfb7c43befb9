"""Names for clips' files. They are made from clips' ids, which may hold any character that an address can."""

from __future__ import annotations

import hashlib
import re
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STEM = 80  # characters of an id that a name keeps: enough for people, short enough for paths
DIGEST = 10  # hex digits that tell apart ids of the same letters
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?")  # no files to Windows
SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_OF_TABLES = {".txt", ".json", ".jsonl", ".csv", ".parquet"}


class Names:
    """Gives clips names that every system accepts for files: a-z, 0-9, dot, underscore and hyphen.

    An id that is such a name is used as it is. Any other id keeps the characters that it can and gets a digest. So two
    ids never share a name, even on systems that ignore case.
    """

    def __init__(self) -> None:
        self._given: dict[str, str] = {}  # clip ids by name

    def of(self, clip_id: str) -> str:
        """The name of a clip, without a suffix; the same each time."""
        return next(name for name in names_of(clip_id) if self._given.setdefault(name, clip_id) == clip_id)


def file_name(path: str) -> str:
    """The last part of a path."""
    return PurePath(path).name


def suffix(path: str) -> str:
    """The suffix of a video's path, by which tools know what it is; ".mp4" where it is no video's suffix."""
    found = PurePath(path).suffix.lower()
    return found if is_suffix(found) else ".mp4"


def is_suffix(found: str) -> bool:
    """Whether a suffix, in small letters, may be a video's. Texts and tables lie beside videos: theirs may not."""
    return SUFFIX.fullmatch(found) is not None and found not in _OF_TABLES


def names_of(clip_id: str) -> Iterator[str]:
    """Names for a clip, the best first. The caller takes the first one that is free.

    Only an id that was made to look like another clip's name needs the second or a later one.
    """
    letters, digest = _letters(clip_id), hashlib.sha256(clip_id.encode()).hexdigest()
    yield letters if letters == clip_id else f"{letters}-{digest[:DIGEST]}"
    for number in count(1):
        yield f"{letters}-{digest}-{number}"


def _letters(clip_id: str) -> str:
    """An id as a part of a name: not hidden, not like an option of a command, without an end that Windows drops."""
    letters = re.sub(r"[^a-z0-9._-]+", "_", clip_id.lower())[:STEM].strip(".-") or "clip"
    return f"_{letters}" if DEVICES.fullmatch(letters) else letters
