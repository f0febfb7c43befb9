"""Parquet: written whole before it is sent, since its list of columns stands at its end."""

from __future__ import annotations

import os
import tempfile
from typing import IO, TYPE_CHECKING

from motiontrace.formats.cells import flat
from motiontrace.formats.export import COLUMNS, PIECE_BYTES, Content, Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.formats.export import Ranking

NUMBERS = {"rank": "int64", "width": "int64", "height": "int64", "frames": "int64"} | dict.fromkeys(
    ("score", "percentile", "chance_low", "chance_high", "seconds", "fps"), "float64"
)


def _write(ranking: Ranking) -> Content:
    file = _file(ranking)
    return Content(_pieces(file), file.seek(0, os.SEEK_END))


def _file(ranking: Ranking) -> IO[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, NUMBERS.get(name, "string")) for name in COLUMNS])
    # Without a name: whatever becomes of the answer, nothing stays on the disk.
    file = tempfile.TemporaryFile()  # noqa: SIM115 (it outlives this function)
    try:
        with parquet.ParquetWriter(file, schema) as writer:
            for portion in ranking.portions:
                writer.write_table(pa.Table.from_pylist([flat(row) for row in portion], schema))
    except BaseException:
        file.close()
        raise
    return file


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece


FORMAT = Format("parquet", "a table for data tools", "application/vnd.apache.parquet", _write)
