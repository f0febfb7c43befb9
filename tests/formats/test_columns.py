"""The columns of manifests as typed fields."""

from __future__ import annotations

from typing import Any

from motiontrace.formats.columns import Columns


def test_columns_of_the_manifest_are_typed_by_all_their_values() -> None:
    rows: list[dict[str, Any]] = [
        {
            "n": 1,
            "real": 1,
            "mixed": 1,
            "flag": True,
            "none": None,
            "list": [1, {"$oid": "x"}],
            "big": 2**70,
            "a b": "x",
        },
        {"n": None, "real": 0.5, "mixed": "x", "flag": False, "none": None, "big": 1, "a_b": "y", "": "z", "a.b": "w"},
    ]
    columns = Columns(rows)
    kinds = {each.column: (each.name, each.kind) for each in columns.all}
    assert kinds == {
        "n": ("manifest_n", "Int"),
        "real": ("manifest_real", "Float"),
        "mixed": ("manifest_mixed", "String"),
        "flag": ("manifest_flag", "Boolean"),
        "none": ("manifest_none", "String"),
        "list": ("manifest_list", "String"),
        "big": ("manifest_big", "String"),
        "a b": ("manifest_a_b", "String"),
        "a_b": ("manifest_a_b_2", "String"),
        "": ("manifest_", "String"),
        "a.b": ("manifest_a_b_3", "String"),
    }
    first, second = (columns.values(row) for row in rows)
    assert first["manifest_real"] == 1.0
    assert isinstance(first["manifest_real"], float)
    assert (first["manifest_mixed"], second["manifest_mixed"]) == ("1", "x")
    assert (first["manifest_big"], first["manifest_list"]) == (str(2**70), '[1, {"$oid": "x"}]')
    assert (first["manifest_flag"], first["manifest_n"]) == (True, 1)
    names = {name for name, _ in kinds.values()}
    assert names - set(first) == {"manifest_none", "manifest_a_b_2", "manifest_", "manifest_a_b_3"}
    assert names - set(second) == {"manifest_none", "manifest_n", "manifest_list", "manifest_a_b"}
