"""CSV as spreadsheets, data frames and people write it: which character parts the fields, and where a row begins."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from motiontrace.indexer.manifest.refusing import ManifestError, RowError
from motiontrace.indexer.manifest.rows import columns_of
from motiontrace.indexer.manifest.texts import check_utf8, open_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's own way to say it
_LONGEST_NAMES = 65_536  # characters of a header that are looked at


def read_csv(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Each row's first line and its values by column, None where a field is empty; or what is wrong with it.

    Raises:
        FileError: it is no file.
        ManifestError: its header cannot be used, or it is no UTF-8.
    """
    with open_text(file, newline="") as stream:
        lines = _Lines(stream)
        delimiter = _delimiter(lines)
        records = _records(lines, delimiter)
        header: list[str] | None = None
        for line, cells in records:
            if isinstance(cells, RowError):
                if header is None:
                    raise ManifestError(f"{file}, line {line}: the header cannot be read: {cells.said}")
                yield line, cells
            elif header is None:
                header = _header(file, line, cells)
            elif any(cell.strip() for cell in cells):
                yield line, _values(header, cells, delimiter)


def _delimiter(lines: _Lines) -> str:
    """What parts the fields: what the first line says, else what makes the most of the header's names known."""
    first = ""
    while not first.strip():
        lines.begin()
        if not (first := next(lines, "")):
            return ","
    if (said := _SEPARATOR_LINE.fullmatch(first.strip("\r\n"))) is not None:
        return said[1]
    lines.give_back(keep=0)

    def known(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([first[:_LONGEST_NAMES]], delimiter=delimiter, skipinitialspace=True), [])
        return sum(column is not None for column in columns_of(tuple(names))), len(names)

    return max(_DELIMITERS, key=known)


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | RowError]]:
    """Each record's first line, and its fields or what is wrong with it."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        first = lines.begin()
        try:
            cells = next(reader)
            check_utf8("".join(cells))
        except StopIteration:
            return
        except RowError as error:
            yield first, error
        except csv.Error as error:
            lines.give_back(keep=1)  # a quote that is not closed must not swallow the rows behind it
            yield first, RowError("text that is not CSV", f"not valid CSV: {_malformed(error)}.")
        else:
            yield first, cells


def _malformed(error: csv.Error) -> str:
    """What csv's own words mean."""
    if "unexpected end" in str(error):
        return "a quote is opened and never closed; inside quotes, write a quote twice"
    if "expected after" in str(error):
        return "a field goes on behind its closing quote; inside quotes, write a quote twice"
    return str(error)


def _header(file: Path, line: int, cells: list[str]) -> list[str]:
    """The names of the columns, "" where one has none."""
    header = [cell.strip() for cell in cells]
    needed = {name for name in columns_of(tuple(header)) if name is not None}
    names = Counter(name.casefold() if name.casefold() in map(str.casefold, needed) else name for name in header)
    if twice := [name for name, count in names.items() if name and count > 1]:
        raise ManifestError(f"{file}, line {line}: the header names {twice[0]!r} twice: give each column its own name.")
    return header


def _values(header: list[str], cells: list[str], delimiter: str) -> dict[str, Any] | RowError:
    while len(cells) > len(header) and not cells[-1].strip():
        cells.pop()  # spreadsheets end rows with delimiters of columns that are empty
    if len(cells) != len(header):
        name = _DELIMITERS.get(delimiter, repr(delimiter))
        return RowError(
            "a line that does not fit the header",
            f"the line has not as many fields as the header: {len(cells)}, and {len(header)} are expected. Put quotes"
            f" around a caption that has a {name}.",
        )
    # Without a name: the number of the row that pandas writes in front, and what a spreadsheet has behind.
    return {name: cell or None for name, cell in zip(header, cells, strict=True) if name}


class _Lines:
    """The lines of a stream, which can be given back, and their numbers."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._given_back: deque[str] = deque()
        self._taken: list[str] = []
        self._number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._stream)
        self._taken.append(line)
        self._number += 1
        return line

    def begin(self) -> int:
        """Forgets the lines taken so far; the number of the next one."""
        self._taken.clear()
        return self._number + 1

    def give_back(self, keep: int) -> None:
        """Gives back the lines taken since `begin`, but for the first ones."""
        back = self._taken[keep:]
        self._given_back.extendleft(reversed(back))
        self._number -= len(back)
        del self._taken[keep:]
