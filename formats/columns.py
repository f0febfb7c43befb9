"""The columns of clips' manifests as typed fields: a tool filters numbers by range, and texts by value."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["Boolean", "Int", "Float", "String"]
PREFIX = "manifest_"  # no column takes the place of a field of the tool's own
MAX_INTEGER = 2**63 - 1  # what databases count to


@dataclass(frozen=True)
class Column:
    """A column of the manifest: what it is called there, and its field's name and kind."""

    column: str
    name: str
    kind: Kind


class Columns:
    """The columns of many clips.

    Attributes:
        all: each column that any clip has, in the order in which they were met.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Find the kind of each column's values. A column of several kinds is text."""
        kinds: dict[str, Kind | None] = {}
        for row in rows:
            for column, value in row.items():
                kinds[column] = _both(kinds.get(column), _kind(value))
        names: set[str] = set()
        self.all: list[Column] = []
        for column, kind in kinds.items():
            name = base = PREFIX + re.sub(r"[^A-Za-z0-9_]+", "_", column)
            number = 1
            while name in names:
                name = f"{base}_{(number := number + 1)}"
            names.add(name)
            self.all.append(Column(column, name, kind or "String"))

    def values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A clip's values by field. Fields without a value are left out."""
        found = ((each, row.get(each.column)) for each in self.all)
        return {each.name: _value(value, each.kind) for each, value in found if value is not None}


def _kind(value: Any) -> Kind | None:
    match value:
        case None:
            return None
        case bool():
            return "Boolean"
        case int() if abs(value) <= MAX_INTEGER:
            return "Int"
        case float() if math.isfinite(value):
            return "Float"
        case _:
            return "String"


def _both(first: Kind | None, second: Kind | None) -> Kind | None:
    if first is None or second is None or first == second:
        return first or second
    return "Float" if {first, second} == {"Int", "Float"} else "String"


def _value(value: Any, kind: Kind) -> Any:
    if kind == "String":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "Float" else value
