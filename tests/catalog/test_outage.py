"""A trouble that lasts fills no log."""

import logging
from itertools import pairwise

import pytest

from motiontrace.catalog.outage import FIRST_SECONDS, LONGEST_SECONDS, QUIET_SECONDS, Outage


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO)
    return Outage(logging.getLogger("tests"), "the database does not answer", clock)


def test_it_is_told_once_and_then_at_growing_intervals(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    for tenth in range(36_000):
        clock.seconds = tenth / 10
        caplog.clear()
        outage.note("it is stopped")
        told += [clock.seconds] * len(caplog.records)
    pauses = [after - before for before, after in pairwise(told)]
    assert pauses == [FIRST_SECONDS * 2**step for step in range(len(pauses))]
    assert len(pauses) == 8
    assert max(pauses) <= LONGEST_SECONDS


def test_it_says_how_often_and_for_how_long(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1500):
        outage.note("it is stopped")
    clock.seconds = FIRST_SECONDS
    outage.note("it is stopped")
    clock.seconds += QUIET_SECONDS
    outage.passed()
    outage.passed()
    assert caplog.messages == [
        "the database does not answer: it is stopped",
        "the database does not answer: it is stopped (1,501 times in 10 s)",
        "the database does not answer: in order again, after 1,501 failures in 10 s",
    ]


def test_what_comes_and_goes_is_one_trouble(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for step in range(90):
        clock.seconds = step / 10
        outage.note("it is locked")
        clock.seconds += 0.05
        outage.passed()
    assert len(caplog.messages) == 1


def test_the_next_trouble_is_told_at_once(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage.note("it is stopped")
    clock.seconds += QUIET_SECONDS
    outage.passed()
    outage.note("it is locked")
    clock.seconds += 10_000  # and nobody says that this one is over
    outage.note("it is full")
    assert [each for each in caplog.messages if "order" not in each] == [
        "the database does not answer: it is stopped",
        "the database does not answer: it is locked",
        "the database does not answer: it is full",
    ]
