"""What a run tells of a clip: file, caption, metadata. Clips have it as told last, entries as their own index was told.

The columns have the same names in both tables and in the rows that runs hand over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motiontrace.catalog.records import ClipRecord, EntryRecord
    from motiontrace.catalog.repositories.clip_row import ClipRow

COLUMNS = ("path", "sha256", "bytes", "modified_ns", "caption", "extra")


def take_over(record: ClipRecord | EntryRecord, row: ClipRow) -> bool:
    """Write into a record what a run tells; whether the path, the caption or the metadata is another one now.

    A file that was only touched is the same to people, and its new time is taken over all the same.
    """
    other = (record.path, record.caption) != (row.path, row.caption) or not same_json(record.extra, row.extra)
    for name in COLUMNS:
        value = getattr(row, name)
        if other or getattr(record, name) != value:
            setattr(record, name, value)
    return other


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 and 1.0 are, as in JSON itself, 1 and true are not."""
    match one, other:
        case (bool(), _) | (_, bool()):
            return one is other
        case dict(), dict():
            return one.keys() == other.keys() and all(same_json(value, other[name]) for name, value in one.items())
        case (list() | tuple(), list() | tuple()):
            return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)
