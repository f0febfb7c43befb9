"""Rankings as tables: CSV, JSON lines, Parquet. Written in portions, so that none is held as a whole in memory."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any, Literal

from starlette.responses import Response, StreamingResponse

from motiontrace.answering.rows import COLUMNS
from motiontrace.catalog.spreadsheets import BOM, cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from motiontrace.answering.rows import Row

Table = Literal["csv", "jsonl", "parquet"]
PIECE_BYTES = 1 << 18
TABLE_TYPES: dict[Table, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}
JSON_COLUMNS = ("ranges", "boxes", "motion_region", "metadata")  # one text each where a table has no lists
TEXT_COLUMNS = (
    "id",
    "file_name",
    "path",
    "caption",
    "verdict",
    "note",
)  # it may begin with anything
NUMBERS = {"rank": "int64", "width": "int64", "height": "int64", "frames": "int64"} | dict.fromkeys(
    ("score", "percentile", "chance_low", "chance_high", "seconds", "fps"), "float64"
)


def table_of(
    table: Table, first: list[Row], rest: Iterable[list[Row]], *, address: str, headers: Mapping[str, str]
) -> Response:
    """The table as an answer; `rest` is read while it is sent, or before where the format does not allow that.

    `address` is the service's own, without a closing slash: in CSV, which people open in spreadsheets, links have it.
    """
    media_type = TABLE_TYPES[table]
    if table == "parquet":
        file = _parquet(first, rest)
        whole = {**headers, "content-length": str(file.seek(0, os.SEEK_END))}
        return StreamingResponse(_pieces(file), headers=whole, media_type=media_type)
    lines = _csv(first, rest, address) if table == "csv" else _jsonl(first, rest)
    return StreamingResponse(lines, headers=dict(headers), media_type=media_type)


def table_pieces(table: Table, first: list[Row], rest: Iterable[list[Row]]) -> Iterator[bytes]:
    """The table as bytes, for a file of whoever needs no service: in CSV there are no links."""
    if table == "parquet":
        return _pieces(_parquet(first, rest))
    return (lines.encode() for lines in (_csv(first, rest, None) if table == "csv" else _jsonl(first, rest)))


def _flat(row: Row) -> dict[str, Any]:
    """A row for formats in which a cell is a number or a text."""
    document = row.document()
    for name in JSON_COLUMNS:
        document[name] = None if document[name] is None else json.dumps(document[name], ensure_ascii=False)
    return document


def _cells(row: Row, address: str | None) -> dict[str, Any]:
    document = _flat(row)
    document["video_url"] = None if address is None else f"{address}{document['video_url']}"
    for name in TEXT_COLUMNS:
        document[name] = None if document[name] is None else cell(document[name])
    return document


def _csv(first: list[Row], rest: Iterable[list[Row]], address: str | None) -> Iterator[str]:
    text = io.StringIO()
    text.write(BOM)
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for portion in _portions(first, rest):
        writer.writerows(_cells(row, address) for row in portion)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _jsonl(first: list[Row], rest: Iterable[list[Row]]) -> Iterator[str]:
    for portion in _portions(first, rest):
        yield "".join(json.dumps(row.document(), ensure_ascii=False) + "\n" for row in portion)


def _parquet(first: list[Row], rest: Iterable[list[Row]]) -> IO[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, NUMBERS.get(name, "string")) for name in COLUMNS])
    # Without a name: whatever becomes of the answer, nothing stays on the disk.
    file = tempfile.TemporaryFile()  # noqa: SIM115 (it outlives this function)
    try:
        with parquet.ParquetWriter(file, schema) as writer:
            for portion in _portions(first, rest):
                writer.write_table(pa.Table.from_pylist([_flat(row) for row in portion], schema))
    except BaseException:
        file.close()
        raise
    return file


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece


def _portions(first: list[Row], rest: Iterable[list[Row]]) -> Iterator[list[Row]]:
    yield first
    yield from rest
