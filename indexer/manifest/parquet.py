"""Parquet tables. Bytes are left where they are: a table may hold whole videos."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from motiontrace.files import check_file
from motiontrace.indexer.manifest.refusing import ManifestError, RowError
from motiontrace.indexer.manifest.rows import columns_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ROWS = 4096  # read at once


def read_parquet(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Each row's number and its values by column, or what is wrong with it; columns with bytes in them are left out.

    Raises:
        FileError: it is no file.
        ManifestError: it is no Parquet file, damaged, or a needed column has bytes in it.
    """
    from pyarrow.lib import ArrowException
    from pyarrow.parquet import ParquetFile

    check_file(file)
    try:
        table = ParquetFile(file)
        columns = _columns(file, table.schema_arrow)
    except (OSError, ArrowException) as error:
        raise ManifestError(f"{file} is not a Parquet file: {error}") from error
    line = 0
    with table:
        try:
            for batch in table.iter_batches(_ROWS, columns=columns):
                for values in _rows(batch):
                    line += 1
                    yield line, values
        except (OSError, ArrowException) as error:
            raise ManifestError(f"{file} is damaged after row {line}: {error}") from error


def _columns(file: Path, schema: Any) -> list[str]:
    """The columns to be read."""
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise ManifestError(f"{file} has the column {twice[0]!r} twice: give each its own name.")
    with_bytes = {field.name: str(field.type) for field in schema if _has_bytes(field.type)}
    needed = columns_of(tuple(schema.names))
    for column in needed:
        if column in with_bytes:
            hint = " A video inside the table is not read: write it to a file, and its path into the column."
            raise ManifestError(
                f"{file}: the column {column!r} holds bytes ({with_bytes[column]}); text is expected."
                f"{hint if column == needed.video else ''}"
            )
    return [name for name in schema.names if name not in with_bytes]


def _has_bytes(kind: Any) -> bool:
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        return kind.extension_name != "arrow.uuid" and _has_bytes(kind.storage_type)
    if types.is_dictionary(kind):
        return _has_bytes(kind.value_type)
    if types.is_nested(kind):
        return any(_has_bytes(kind.field(number).type) for number in range(kind.num_fields))
    return any(
        is_kind(kind)
        for is_kind in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    )


def _rows(batch: Any) -> Iterator[dict[str, Any] | RowError]:
    """The rows of a batch; one by one where a value of it, as a time beyond the calendar, cannot be had."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        yield from (_row(batch.slice(number, 1)) for number in range(batch.num_rows))


def _row(batch: Any) -> dict[str, Any] | RowError:
    values = {}
    for name in batch.schema.names:
        try:
            values[name] = batch.column(name)[0].as_py()
        except (ValueError, OverflowError) as error:
            why = str(error).removesuffix(".")
            return RowError("a value that cannot be read", f"the column {name!r} cannot be read: {why}.")
    return values
