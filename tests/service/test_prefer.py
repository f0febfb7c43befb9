"""The Prefer header."""

from __future__ import annotations

import pytest

from motiontrace.service.prefer import wait_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["wait=30"], 30),
        (["Wait = 30"], 30),
        (['wait="30"'], 30),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5; strict"], 5),
        (["wait=5, wait=7"], 5),
        (["wait=0"], 0),
        (["wait=9999"], 60),
        (["wait=" + "9" * 5000], 60),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=²"], None),
        (["return=minimal"], None),
    ],
)
def test_the_first_wait_counts_and_what_cannot_be_read_is_ignored(headers: list[str], seconds: int | None) -> None:
    assert wait_seconds(headers, most=60) == seconds
