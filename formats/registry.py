"""The export formats. The HTTP API, the client, the command line and the tests of the docs read this list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiontrace.formats import csv, cvat, fiftyone, jsonl, parquet

if TYPE_CHECKING:
    from motiontrace.formats.export import Format

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        csv.FORMAT,
        jsonl.FORMAT,
        parquet.FORMAT,
        fiftyone.FORMAT,
        cvat.FORMAT,
    )
}
TABLES = tuple(name for name, each in FORMATS.items() if not each.is_folder)
FOLDERS = tuple(name for name, each in FORMATS.items() if each.is_folder)
