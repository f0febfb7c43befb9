"""How a long run is told: lines where nobody watches a bar, in units that fit, of what was really done."""

import re
import threading
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from motiontrace.commands.progress import CLIPS, QUERIES, STEPS, Phase, Progress, duration_text, rate_text


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (17014.0, "17,014 clips/s"),
        (12.4, "12 clips/s"),
        (1.25, "1.2 clips/s"),
        (0.96, "1.0 clips/s"),
        (0.24, "4.2 s/clip"),
        (1 / 42, "42 s/clip"),
        (1 / 150, "2.5 min/clip"),
        (1 / 3600, "60 min/clip"),
        (1 / 9000, "2.5 h/clip"),
        (1e-6, "278 h/clip"),
    ],
)
def test_a_rate_is_told_in_the_unit_that_fits(per_second, text):
    assert rate_text(per_second, CLIPS) == text


@given(st.floats(1e-6, 1e6))
def test_no_rate_is_told_as_nothing_and_each_reads_as_it_is(per_second):
    text = rate_text(per_second, QUERIES)
    number, unit = text.replace(",", "").split(" ")
    value = float(number)
    seconds = {"s": 1, "min": 60, "h": 3600}
    told = value if unit == "queries/s" else 1 / (value * seconds[unit.removesuffix("/query")])
    assert value > 0
    assert told == pytest.approx(per_second, rel=0.06)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.25, "4.2 s"),
        (42, "42 s"),
        (99.6, "2 min"),
        (720, "12 min"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_a_time_is_told_in_the_unit_that_fits(seconds, text):
    assert duration_text(seconds) == text


def test_what_was_kept_from_before_says_nothing_of_the_rate():
    phase = Phase("indexing", 1000, CLIPS, clock=(clock := Clock()))
    for done in range(1, 901):
        clock.now += 0.001
        phase.to(done, kept=done)
    assert phase.rate is None
    assert phase.line() == "indexing: 900/1,000 clips, 0.9 s so far"
    for worked in range(1, 11):
        clock.now += 4
        phase.to(900 + worked, kept=900)
    assert phase.rate == pytest.approx(0.25)
    assert phase.line() == "indexing: 910/1,000 clips, 4.0 s/clip, 6 min left"


def test_a_run_that_goes_on_tells_the_rate_of_this_run():
    phase = Phase("training", 100, STEPS, done=40, clock=(clock := Clock()))
    assert phase.start_line() == "training: 100 steps, 40 of them done before"
    clock.now += 20
    phase.to(50, kept=40)
    assert phase.line() == "training: 50/100 steps, 2.0 s/step, 2 min left"


def test_the_rate_is_of_the_last_minutes_and_falls_where_nothing_comes():
    phase = Phase("indexing", 100_000, CLIPS, clock=(clock := Clock()))
    done = 0
    for seconds, every in ((3600, 1.0), (1200, 10.0)):
        for _ in range(int(seconds / every)):
            clock.now += every
            phase.to(done := done + 1, kept=0)
    assert phase.rate == pytest.approx(0.1, rel=0.05)
    clock.now += 3600
    assert phase.rate < 0.1 / 5
    assert "s left" not in phase.line()


def test_without_a_terminal_a_phase_is_told_at_its_begin_and_end():
    console = Console(file=StringIO(), width=40)
    with Progress(console) as progress:
        progress.begin("indexing", 3, CLIPS)
        said = console.file.getvalue()
        assert said == "indexing: 3 clips\n"
        for _ in range(3):
            progress.step(notes="[b] 1 failed, and many a word more, in one line")
        progress.loading("the model")
    lines = console.file.getvalue().splitlines()
    assert re.fullmatch(r"indexing: 3/3 clips, in 0.\d s, \[b\] 1 failed, and many a word more, in one line", lines[1])
    assert lines[2] == "loading the model"
    assert re.fullmatch(r"loading the model: in 0.\d s", lines[3])
    assert "━" not in console.file.getvalue()


def test_without_a_terminal_a_line_comes_while_nothing_ends():
    told = threading.Event()

    class Heard(StringIO):
        def write(self, text):
            if "so far" in text:
                told.set()
            return super().write(text)

    console = Console(file=Heard(), width=100)
    with Progress(console, every=0.01) as progress:
        progress.begin("indexing", 3, CLIPS)
        assert told.wait(20)
    assert re.search(r"\nindexing: 0/3 clips, 0.\d s so far\n", console.file.getvalue())


def test_a_terminal_has_a_bar_with_rate_and_time_left():
    console = Console(file=StringIO(), width=120, force_terminal=True)
    with Progress(console) as progress:
        progress.begin("indexing", 3, CLIPS)
        progress.step(notes="1 failed")
    said = console.file.getvalue()
    assert "━" in said
    assert "1/3 clips" in said
    assert "1 failed" in said
