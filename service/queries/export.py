"""Rankings as files: CSV, JSON lines, Parquet. Written in portions, so that none is held as a whole in memory."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any, Literal

from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.queries.schemas import Hit

Format = Literal["csv", "jsonl", "parquet"]
COLUMNS = ("rank", "score", "percentile", "id", "caption", "verdict", "decision", "metadata", "video_url")
PIECE_BYTES = 1 << 18
_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


def media_type(format: Format) -> str:
    """The media type of a kind of file."""
    return _TYPES[format]


def file_of(
    format: Format, first: list[Hit], rest: Iterable[list[Hit]], *, headers: Mapping[str, str], media_type: str
) -> Response:
    """The file as an answer; `rest` is read while it is sent, or before where the format does not allow that."""
    if format == "parquet":
        file = _parquet(first, rest)
        whole = {**headers, "content-length": str(file.seek(0, os.SEEK_END))}
        return StreamingResponse(_pieces(file), headers=whole, media_type=media_type)
    lines = _csv(first, rest) if format == "csv" else _jsonl(first, rest)
    return StreamingResponse(lines, headers=dict(headers), media_type=media_type)


def _row(hit: Hit) -> dict[str, Any]:
    row = hit.model_dump(mode="json")
    return {name: row[name] for name in COLUMNS}


def _flat(hit: Hit) -> dict[str, Any]:
    """A row for formats in which every clip has the same columns."""
    return {**_row(hit), "metadata": json.dumps(hit.metadata, ensure_ascii=False)}


def _csv(first: list[Hit], rest: Iterable[list[Hit]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for portion in _portions(first, rest):
        writer.writerows(map(_flat, portion))
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _jsonl(first: list[Hit], rest: Iterable[list[Hit]]) -> Iterator[str]:
    for portion in _portions(first, rest):
        yield "".join(json.dumps(_row(hit), ensure_ascii=False) + "\n" for hit in portion)


def _parquet(first: list[Hit], rest: Iterable[list[Hit]]) -> IO[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.string()
    schema = pa.schema(
        [("rank", pa.int64()), ("score", pa.float64()), ("percentile", pa.float64())]
        + [(name, text) for name in COLUMNS[3:]]
    )
    # Without a name: whatever becomes of the answer, nothing stays on the disk.
    file = tempfile.TemporaryFile()  # noqa: SIM115 (it outlives this function)
    try:
        with parquet.ParquetWriter(file, schema) as writer:
            for portion in _portions(first, rest):
                writer.write_table(pa.Table.from_pylist([_flat(hit) for hit in portion], schema))
    except BaseException:
        file.close()
        raise
    return file


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece


def _portions(first: list[Hit], rest: Iterable[list[Hit]]) -> Iterator[list[Hit]]:
    yield first
    yield from rest
