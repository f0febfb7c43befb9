"""Rows for tables in which a cell is a number or a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motiontrace.formats.export import Row

JSON_COLUMNS = ("ranges", "boxes", "motion_region", "metadata")  # lists and objects, as JSON text


def flat(row: Row) -> dict[str, Any]:
    """A row whose lists and objects are JSON texts."""
    document = row.document()
    for name in JSON_COLUMNS:
        document[name] = None if document[name] is None else json.dumps(document[name], ensure_ascii=False)
    return document
