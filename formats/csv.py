"""CSV for spreadsheets: UTF-8 with a byte order mark, no cell a formula, links with the service's address."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from motiontrace.formats.cells import flat
from motiontrace.formats.export import COLUMNS, Content, Format
from motiontrace.formats.spreadsheets import BOM, cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.formats.export import Ranking, Row

TEXT_COLUMNS = ("id", "file_name", "path", "caption", "verdict", "note")  # their texts may begin as formulas do


def _write(ranking: Ranking) -> Content:
    return Content(_portions(ranking))


def _portions(ranking: Ranking) -> Iterator[bytes]:
    text = io.StringIO()
    text.write(BOM)
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for portion in ranking.portions:
        writer.writerows(_cells(row, ranking.address) for row in portion)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _cells(row: Row, address: str | None) -> dict[str, Any]:
    document = flat(row)
    document["video_url"] = None if address is None else f"{address}{document['video_url']}"
    for name in TEXT_COLUMNS:
        document[name] = None if document[name] is None else cell(document[name])
    return document


FORMAT = Format("csv", "a table for spreadsheets", "text/csv; charset=utf-8", _write)
