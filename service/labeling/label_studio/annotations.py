"""What an annotation says: Label Studio's result, read as the fields of a label.

Nothing odd in a result loses the rest of it: what cannot be read is left out, and reported. Controls that are not ours
(see `setup`) are passed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from motiontrace.documents.regions import (
    MAX_BOX_KEYFRAMES,
    MAX_BOXES,
    MAX_KEYFRAMES,
    MAX_RANGES,
    MAX_SECONDS,
    Box,
    Keyframe,
    TimeRange,
)
from motiontrace.service.labeling.label_studio.setup import BOX, DECISION, DECISIONS, NOTE, SEGMENT, VERDICT

if TYPE_CHECKING:
    from motiontrace.catalog.records import Decision

MAX_WORD = 64  # characters of a verdict, and of the label of a range or box
MAX_NOTE = 10_000  # characters
DEFAULT_FPS = 24.0  # Label Studio's own, of a video whose rate it cannot read
DIGITS = 6  # of seconds and fractions: finer than any frame or pixel

Value = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a reviewer says of a clip."""

    verdict: str | None = None
    decision: Decision | None = None
    note: str = ""
    ranges: tuple[TimeRange, ...] = ()
    boxes: tuple[Box, ...] = ()
    left_out: tuple[str, ...] = ()  # what could not be read, for people

    @property
    def says_something(self) -> bool:
        """Whether it makes a label: a note alone says nothing of the clip."""
        return self.verdict is not None or self.decision is not None or bool(self.ranges or self.boxes)


def frame_rate(data: Any) -> float:
    """Frames a second by which Label Studio's editor counts the frames of a task, where its set-up says "$fps".

    Args:
        data: the task's data. Its `fps` is read as the editor does: what is no number is 24, and a number below 1 is
            the seconds of a frame.
    """
    value = data.get("fps") if isinstance(data, dict) else None
    rate = _number(value, text=True)
    if rate is None or rate <= 0:
        return DEFAULT_FPS
    return min(1 / rate if rate < 1 else rate, MAX_SECONDS)


def read_review(result: Any, fps: float) -> Review:
    """Read what an annotation says.

    Args:
        result: the annotation's `result`: a list of answers and regions, whatever is in it.
        fps: frames a second, positive, by which its frames are counted, see `frame_rate`; the first frame is 1.
    """
    reader = _Reader(fps)
    if isinstance(result, list):
        for item in result:
            if isinstance(item, dict):
                reader.read(item)
    elif result:
        reader.leave_out("the result, which is no list")
    return reader.review()


@dataclass
class _Reader:
    """Gathers what the parts of one result say."""

    fps: float
    verdict: str | None = None
    decision: Decision | None = None
    notes: list[str] = field(default_factory=list)
    ranges: list[TimeRange] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    left_out: dict[str, None] = field(default_factory=dict)  # each once, in order

    def leave_out(self, what: str) -> None:
        self.left_out[what] = None

    def review(self) -> Review:
        note = "\n".join(self.notes)
        if len(note) > MAX_NOTE:
            self.leave_out(f"the note behind its first {MAX_NOTE:,} characters")
        return Review(
            verdict=self.verdict,
            decision=self.decision,
            note=note[:MAX_NOTE],
            ranges=tuple(self.ranges),
            boxes=tuple(self.boxes),
            left_out=tuple(self.left_out),
        )

    def read(self, item: Value) -> None:
        """Take over one part of the result, if it is from a control of ours."""
        readers = {
            VERDICT: self._read_verdict,
            DECISION: self._read_decision,
            NOTE: self._read_note,
            SEGMENT: self._read_segment,
            BOX: self._read_box,
        }
        name = item.get("from_name")
        read = readers.get(name) if isinstance(name, str) else None
        if read is None:
            return
        value = item.get("value")
        if isinstance(value, dict):
            read(value)
        else:
            self.leave_out(f"{name!r}, which has no value")

    def _read_verdict(self, value: Value) -> None:
        for word in self._words("verdict", value.get("choices")):
            if self.verdict is None:
                self.verdict = word
            elif word != self.verdict:
                self.leave_out("a second verdict")

    def _read_decision(self, value: Value) -> None:
        ours: dict[str, Decision] = {"keep": "keep", "down_weight": "down_weight", "drop": "drop"}
        theirs = {DECISIONS[decision]: decision for decision in ours.values()} | ours
        for word in self._words("decision", value.get("choices")):
            if word not in theirs:
                self.leave_out(f"the decision {word!r}, which is none of {', '.join(DECISIONS.values())}")
            elif self.decision is None:
                self.decision = theirs[word]
            elif theirs[word] != self.decision:
                self.leave_out("a second decision")

    def _read_note(self, value: Value) -> None:
        texts = value.get("text")
        for text in texts if isinstance(texts, list) else [texts]:
            if isinstance(text, str):
                self.notes.append(_storable(text))
            elif text is not None:
                self.leave_out("a note that is no text")

    def _read_segment(self, value: Value) -> None:
        ranges = value.get("ranges")
        labels = self._words("range's label", value.get("timelinelabels")) or [""]
        for each in ranges if isinstance(ranges, list) else [ranges]:
            # The editor writes null for an end that was not set: the range is one moment then.
            ends = [self._seconds(each.get(end)) for end in ("start", "end")] if isinstance(each, dict) else []
            times = sorted(time for time in ends if time is not None)
            if not times:
                self.leave_out("a range without frames")
                continue
            for label in labels:
                if len(self.ranges) == MAX_RANGES:
                    self.leave_out(f"ranges behind the first {MAX_RANGES}")
                    return
                self.ranges.append(TimeRange(start=times[0], end=times[-1], label=label))

    def _read_box(self, value: Value) -> None:
        sequence = value.get("sequence")
        by_time: dict[float, Keyframe] = {}
        for each in sequence if isinstance(sequence, list) else []:
            if (keyframe := self._keyframe(each)) is not None:
                by_time[keyframe.time] = keyframe
        room = min(MAX_BOX_KEYFRAMES, MAX_KEYFRAMES - sum(len(box.keyframes) for box in self.boxes))
        if len(by_time) > room:
            self.leave_out(f"keyframes behind the first {MAX_BOX_KEYFRAMES:,} of a box, or {MAX_KEYFRAMES:,} of all")
        keyframes = tuple(by_time[time] for time in sorted(by_time)[:room])
        if not by_time:
            self.leave_out("a box without keyframes")
        elif len(self.boxes) == MAX_BOXES:
            self.leave_out(f"boxes behind the first {MAX_BOXES}")
        elif keyframes:
            # The editor lets a box have several labels only where the set-up says so, which ours does not.
            labels = self._words("box's label", value.get("labels"))
            if len(labels) > 1:
                self.leave_out("a second label of a box")
            self.boxes.append(Box(label=labels[0] if labels else "", keyframes=keyframes))

    def _keyframe(self, each: Any) -> Keyframe | None:
        """A keyframe of ours; what lies outside the picture is cut off."""
        time = self._seconds(each.get("frame")) if isinstance(each, dict) else None
        numbers = [_number(each.get(name)) for name in ("x", "y", "width", "height")] if time is not None else []
        known = [number / 100 for number in numbers if number is not None]
        if time is None or len(known) < 4:
            self.leave_out("a keyframe without a frame or place")
            return None
        if _number(each.get("rotation")):
            self.leave_out("the rotation of a box")
        x, y, width, height = known
        left, right = sorted((_in_picture(x), _in_picture(x + width)))
        upper, lower = sorted((_in_picture(y), _in_picture(y + height)))
        return Keyframe(
            time=time,
            x=left,
            y=upper,
            width=round(right - left, DIGITS),
            height=round(lower - upper, DIGITS),
            visible=each.get("enabled") is not False,
        )

    def _seconds(self, frame: Any) -> float | None:
        """When a frame is, in seconds from the start of the clip; None where it is no number."""
        number = _number(frame)
        return None if number is None else round(min(max((number - 1) / self.fps, 0.0), MAX_SECONDS), DIGITS)

    def _words(self, what: str, value: Any) -> list[str]:
        """Texts that are chosen from a list, without those that a label cannot hold."""
        words = [_storable(word) for word in (value if isinstance(value, list) else [value]) if isinstance(word, str)]
        if any(len(word) > MAX_WORD for word in words):
            self.leave_out(f"a {what} of more than {MAX_WORD} characters")
        return [word for word in words if 0 < len(word) <= MAX_WORD]


def _number(value: Any, *, text: bool = False) -> float | None:
    """A finite number; None where it is none. With `text` a number that is written as a text is one, too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str if text else int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _in_picture(position: float) -> float:
    return round(min(max(position, 0.0), 1.0), DIGITS)


def _storable(text: str) -> str:
    """The text without what no database keeps: null characters and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
