"""Rankings as files: CSV, JSON lines, Parquet. Written in portions, so that none is held as a whole."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.queries.schemas import Hit

Format = Literal["csv", "jsonl", "parquet"]
COLUMNS = ("rank", "score", "percentile", "id", "caption", "verdict", "decision", "metadata", "video_url")
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
        path = _parquet(first, rest)
        return FileResponse(path, headers=dict(headers), media_type=media_type, background=BackgroundTask(path.unlink))
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


def _parquet(first: list[Hit], rest: Iterable[list[Hit]]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.string()
    schema = pa.schema(
        [("rank", pa.int64()), ("score", pa.float64()), ("percentile", pa.float64())]
        + [(name, text) for name in COLUMNS[3:]]
    )
    with tempfile.NamedTemporaryFile(prefix="motiontrace-", suffix=".parquet", delete=False) as file:
        path = Path(file.name)
    try:
        with parquet.ParquetWriter(path, schema) as writer:
            for portion in _portions(first, rest):
                writer.write_table(pa.Table.from_pylist([_flat(hit) for hit in portion], schema))
    except BaseException:
        path.unlink()
        raise
    return path


def _portions(first: list[Hit], rest: Iterable[list[Hit]]) -> Iterator[list[Hit]]:
    yield first
    yield from rest
