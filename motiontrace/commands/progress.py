"""How a long run goes on: a bar on a terminal, a plain line a minute anywhere else."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from rich.progress import BarColumn, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Task

LINE_SECONDS = 60.0
_WINDOW_SECONDS = 600.0  # of the rate: what was long ago says little of what is to come
_LEAST_SECONDS = 1.0  # before there is a rate
_MARKS = 100  # a window


class Unit(NamedTuple):
    """What is counted: one of them, and many."""

    one: str
    many: str


CLIPS = Unit("clip", "clips")
QUERIES = Unit("query", "queries")
VIDEOS = Unit("video", "videos")
STEPS = Unit("step", "steps")
PASSES = Unit("pass", "passes")
FINE_TUNES = Unit("fine-tune", "fine-tunes")


def rate_text(per_second: float, unit: Unit) -> str:
    """A rate in the unit that fits: `12 clips/s`, `4.2 s/clip`, `2.5 min/clip`."""
    if per_second >= 0.95:
        return f"{per_second:{'.1f' if per_second < 9.95 else ',.0f'}} {unit.many}/s"
    seconds = 1 / per_second
    name, size = next(
        (name, size) for name, size in (("s", 1), ("min", 60), ("h", 3600)) if seconds < 90 * size or name == "h"
    )
    value = seconds / size
    return f"{value:{'.1f' if value < 9.95 else ',.0f'}} {name}/{unit.one}"


def duration_text(seconds: float) -> str:
    """A time for people: `0.4 s`, `42 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


class Phase:
    """A part of a run that is under way: how much of it is done, how fast, and what is left."""

    def __init__(
        self, title: str, total: float | None, unit: Unit, done: float = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`total` None: not known yet; `done`: by an earlier run."""
        self.title, self.total, self.done, self.notes = title, total, done, ""
        self._unit, self._clock = unit, clock
        self._kept = done
        self._began = clock()
        self._marks = deque([(self._began, 0.0)])  # when, and how much had been worked

    def to(self, done: float, kept: float) -> None:
        """So much is done, `kept` of it from before, which says nothing of how fast the rest will be."""
        self.done, self._kept = done, kept
        now, worked = self._clock(), done - kept
        if worked == 0:
            self._marks[0] = now, 0.0  # only what was kept has gone by so far
            return
        if len(self._marks) > 1 and now - self._marks[-2][0] < _WINDOW_SECONDS / _MARKS:
            self._marks.pop()
        self._marks.append((now, worked))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def kept(self) -> float:
        """How much of what is done was there before."""
        return self._kept

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def rate(self) -> float | None:
        """Worked a second, lately; None before that can be said."""
        (first, before), (last, worked) = self._marks[0], self._marks[-1]
        # What takes longer than all before it has slowed down; until then it is only on its way.
        seconds = max(last - first, self._clock() - last) if last > first else 0.0
        return (worked - before) / seconds if seconds >= _LEAST_SECONDS and worked > before else None

    def count_text(self) -> str:
        """`12/300 clips`; the number alone where the total is not known."""
        if self.total is None:
            return f"{self.done:,.0f} {self._unit.many}" if self.done else ""
        return f"{self.done:,.0f}/{self.total:,.0f} {self._unit.one if self.total == 1 else self._unit.many}"

    def rate_text(self) -> str:
        """Nothing before there is a rate."""
        return "" if self.rate is None else rate_text(self.rate, self._unit)

    def left_text(self) -> str:
        """Nothing before that can be said, and where nothing is left."""
        if self.rate is None or self.total is None or self.done >= self.total:
            return ""
        return f"{duration_text((self.total - self.done) / self.rate)} left"

    def start_line(self) -> str:
        """What will be done."""
        if self.total is None:
            return self.title
        before = f", {self.done:,.0f} of them done before" if self.done else ""
        return f"{self.title}: {self.total:,.0f} {self._unit.one if self.total == 1 else self._unit.many}{before}"

    def line(self) -> str:
        """Where it is."""
        since = "" if self.rate is not None else f"{duration_text(self.seconds)} so far"
        return self._joined(self.count_text(), self.rate_text(), self.left_text(), since, self.notes)

    def end_line(self) -> str:
        """What came of it."""
        return self._joined(self.count_text(), f"in {duration_text(self.seconds)}", self.rate_text(), self.notes)

    def _joined(self, *parts: str) -> str:
        return f"{self.title}: {', '.join(filter(None, parts))}"


class Progress:
    """Shows the phases of a run, one after another; to be used as a context manager."""

    def __init__(self, console: Console, every: float = LINE_SECONDS) -> None:
        """`every`: seconds between lines where the console is no terminal."""
        self.console, self._every = console, every
        self._bars: Bars | None = None
        if console.is_terminal:
            columns = (_Told(lambda phase: phase.count_text()), _Told(lambda phase: phase.rate_text()))
            ends = (_Told(lambda phase: phase.left_text()), _Told(lambda phase: phase.notes))
            self._bars = Bars(
                TextColumn("{task.description}"), BarColumn(20), *columns, TimeElapsedColumn(), *ends, console=console
            )
        self._task = TaskID(0)
        self._phase: Phase | None = None
        self._changing = threading.Lock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        else:
            self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._ended.set()
        if self._bars is not None:
            self._bars.stop()
        elif kind is None:
            self.end()

    def loading(self, what: str) -> None:
        """What is read now, which may take minutes."""
        self.begin(f"loading {what}", None, CLIPS)

    def begin(self, title: str, total: float | None, unit: Unit, done: float = 0) -> None:
        """The next phase begins, and the one before it has ended; see `Phase`."""
        self.end()
        phase = Phase(title, total, unit, done)
        if self._bars is not None:
            self._task = self._bars.add_task(title, total=total, completed=int(done), phase=phase)
        else:
            self.say(phase.start_line())
        with self._changing:
            self._phase = phase

    def step(self, amount: float = 1, *, kept: bool = False, notes: str | None = None) -> None:
        """So much more is done; `kept`: it was there from before."""
        if (phase := self._phase) is not None:
            self.to(phase.done + amount, kept=phase.kept + amount * kept, notes=notes)

    def to(
        self, done: float, total: float | None = None, *, kept: float | None = None, notes: str | None = None
    ) -> None:
        """So much is done, `kept` of it from before; what is None stays as it is."""
        if (phase := self._phase) is None:
            return
        phase.total = phase.total if total is None else total
        phase.notes = phase.notes if notes is None else notes
        phase.to(done, phase.kept if kept is None else kept)
        if self._bars is not None:
            self._bars.update(self._task, completed=done, total=phase.total)

    def end(self) -> None:
        """The phase has ended; harmless where there is none."""
        with self._changing:
            phase, self._phase = self._phase, None
        if phase is None:
            return
        if self._bars is None:
            self.say(phase.end_line())
        elif phase.total is None:
            self._bars.update(self._task, total=max(phase.done, 1), completed=max(phase.done, 1))

    def _tick(self) -> None:
        while not self._ended.wait(self._every):
            with self._changing:
                if self._phase is not None:
                    self.say(self._phase.line())

    def say(self, line: str) -> None:
        """Print a line; above the bars where there are some."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Told(ProgressColumn):
    """What a task's phase says."""

    max_refresh = 0.5

    def __init__(self, tell: Callable[[Phase], str]) -> None:
        super().__init__()
        self._tell = tell

    def render(self, task: Task) -> Text:
        return Text(self._tell(task.fields["phase"]))
