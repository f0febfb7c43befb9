"""The filter as a document and as a query string."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from motiontrace.answering.filters import clip_filter
from motiontrace.documents.filters import MAX_COLUMNS, MAX_VALUES, Filter, split_column

WRITTEN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = WRITTEN.filter(bool) | st.text("a:\\", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("bounce", ("bounce",)),
        ("3", ("3", 3)),
        ("-1.5e1", ("-1.5e1", -15.0)),
        ("true", ("true", True)),
        ("null", ("null", None)),
        ("007", ("007",)),
        (" 3", (" 3",)),
        ("٣", ("٣",)),
        ("1e999", ("1e999",)),
        ("NaN", ("NaN",)),
        ("9" * 30, ("9" * 30,)),
        ("[" * 1000, ("[" * 1000,)),
        (3, (3,)),
        (True, (True,)),
        (None, (None,)),
    ],
)
def test_a_text_stands_for_what_is_written_like_it_and_nothing_else_does(value: Any, meant: tuple[Any, ...]) -> None:
    given = clip_filter(Filter(metadata={"x": [value]})).metadata["x"]
    assert [(type(each), each) for each in given] == [(type(each), each) for each in meant]


@given(st.dictionaries(NAMES, st.lists(WRITTEN, min_size=1, max_size=3), max_size=4))
def test_a_filter_of_texts_survives_the_query_string_and_json(metadata: dict[str, list[Any]]) -> None:
    filter = Filter(metadata=metadata, verdict=["a:b"], without_decision=["drop", "keep"])
    assert Filter.model_validate_json(filter.model_dump_json()) == filter
    again: dict[str, Any] = {"metadata": {}}
    for name, value in filter.to_query_string():
        if name == "metadata":
            column, text = split_column(value)
            again["metadata"].setdefault(column, []).append(text)
        else:
            again.setdefault(name, []).append(value)
    assert Filter.model_validate(again) == filter


@pytest.mark.parametrize("text", ["motion", ":x", "", r"a\:b", "\\\\"])
def test_a_condition_needs_a_column_and_a_colon(text: str) -> None:
    with pytest.raises(ValueError, match="write column:value"):
        split_column(text)


def test_only_a_filter_without_conditions_is_empty() -> None:
    assert Filter().is_empty
    for condition in ({"metadata": {"x": [None]}}, {"verdict": ["a"]}, {"without_decision": ["drop"]}):
        assert not Filter.model_validate(condition).is_empty


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"metadata": {"a": [[1]]}}, ("metadata", "a", 0)),
        ({"metadata": {"a": ["\ud800"]}}, ("metadata", "a", 0)),
        ({"metadata": {"a": ["\0"]}}, ("metadata", "a", 0)),
        ({"metadata": {"a": ["x" * 1001]}}, ("metadata", "a", 0)),
        ({"metadata": {"a": [2**63]}}, ("metadata", "a", 0)),
        ({"metadata": {"a": [float("inf")]}}, ("metadata", "a", 0)),
        ({"metadata": {"a": []}}, ("metadata", "a")),
        ({"metadata": {"a": ["x"] * (MAX_VALUES + 1)}}, ("metadata", "a")),
        ({"metadata": {"a": "x"}}, ("metadata", "a")),
        ({"metadata": {str(number): [1] for number in range(MAX_COLUMNS + 1)}}, ("metadata",)),
        ({"metadata": {"\ud800": [1]}}, ()),
        ({"\ud800": [1]}, ()),
        ({"motion": ["fall"]}, ("motion",)),
        ({"decision": ["burn"]}, ("decision", 0)),
        ({"verdict": ["x" * 65]}, ("verdict", 0)),
    ],
)
def test_what_is_wrong_is_told_once_with_its_place(sent: dict[str, Any], place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        Filter.model_validate(sent)
    assert [error["loc"] for error in refused.value.errors()] == [place]


def test_the_module_needs_pydantic_alone() -> None:
    heavy = "sys.modules.keys() & {'sqlalchemy', 'fastapi', 'torch', 'numpy'}"
    code = f"import sys, motiontrace.documents.filters; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
