"""Tables and lists of clips as files, written row by row."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as parquet

from motiontrace.formats.spreadsheets import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from motiontrace.curation.selection.table import Kind

VIDEO_LIST, CAPTION_LIST = "videos.txt", "prompts.txt"
_ROWS_AT_ONCE = 10_000
_TYPES: dict[Kind, str] = {"text": "string", "integer": "int64", "number": "float64", "boolean": "bool"}


@contextmanager
def table_writer(
    path: Path, kinds: Mapping[str, Kind], about: Mapping[str, Any], *, for_people: bool = False
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a table to a new file, row after row, in the form that its suffix names.

    `kinds` are its columns in order, and what each holds beside None; a Parquet file stores `about` itself.
    `for_people`: CSV begins with a mark by which spreadsheets know its UTF-8, which trainers' readers may not know.
    """
    if path.suffix == ".parquet":
        fields = [pa.field(name, _TYPES[kind]) for name, kind in kinds.items()]
        schema = pa.schema(fields, metadata={"motiontrace": json.dumps(about)})
        rows: list[dict[str, Any]] = []
        with path.open("xb") as file, parquet.ParquetWriter(file, schema) as written:

            def add(row: dict[str, Any]) -> None:
                rows.append(row)
                if len(rows) >= _ROWS_AT_ONCE:
                    flush()

            def flush() -> None:
                written.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()

            yield add
            flush()
        return
    with path.open("x", encoding="utf-8", newline="") as text:
        if path.suffix == ".csv":
            text.write(BOM if for_people else "")
            cells = csv.DictWriter(text, list(kinds), lineterminator="\n")
            cells.writeheader()
            yield cells.writerow
        else:

            def put(row: dict[str, Any]) -> None:
                text.write(json.dumps(row, ensure_ascii=False) + "\n")

            yield put


@contextmanager
def list_writer(folder: Path) -> Iterator[Callable[[str, str], None]]:
    """Write the two lists, a line a clip in each: its video, and its caption, in one line whatever is in it."""
    with (
        (folder / VIDEO_LIST).open("x", encoding="utf-8") as videos,
        (folder / CAPTION_LIST).open("x", encoding="utf-8") as captions,
    ):

        def add(video: str, caption: str) -> None:
            videos.write(f"{video}\n")
            captions.write(" ".join(caption.split()) + "\n")

        yield add
