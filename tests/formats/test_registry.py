"""An export format is one module and one line: nothing else names the formats that there are, but the docs."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import motiontrace.formats
from motiontrace.formats.export import Format
from motiontrace.formats.registry import FOLDERS, FORMATS, TABLES

DOCS = Path(__file__).parents[2] / "docs"


def test_every_module_with_a_format_has_its_line() -> None:
    found = (
        import_module(f"motiontrace.formats.{each.name}") for each in pkgutil.iter_modules(motiontrace.formats.__path__)
    )
    formats = [module.FORMAT for module in found if isinstance(getattr(module, "FORMAT", None), Format)]
    assert {each.name: each for each in formats} == FORMATS
    assert {*TABLES, *FOLDERS} == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_described_where_people_look(name: str) -> None:
    assert f"`{name}`" in (DOCS / "api.md").read_text("utf-8").partition("/export\n")[2].partition("\n### ")[0]
    if name in FOLDERS:
        assert f"labels export --format {name}" in (DOCS / "labeling.md").read_text("utf-8")


def test_files_are_named_by_their_format() -> None:
    assert (FORMATS["csv"].suffix, FORMATS["cvat"].suffix) == (".csv", "-cvat.zip")
