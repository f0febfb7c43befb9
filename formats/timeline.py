"""From seconds to frames: tools count frames, labels and motion regions are in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Rectangle(NamedTuple):
    """Where a box is in one frame, in fractions of the picture."""

    frame: int  # the first is 0
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Timeline:
    """The frames of a clip.

    Attributes:
        frames: how many there are, >= 1.
        fps: how many a second, > 0.
    """

    frames: int
    fps: float

    def frame(self, seconds: float) -> int:
        """The frame that begins nearest to a time. The first is 0; a time after the last frame gives the last."""
        return min(self.frames - 1, max(0, round(seconds * self.fps)))

    def span(self, marked: Mapping[str, Any]) -> tuple[int, int]:
        """The first and the last frame of a reviewers' range, {"start": seconds, "end": seconds}: both are in it."""
        return self.frame(marked["start"]), self.frame(marked["end"])

    def moving(self, measured: Mapping[str, Any]) -> tuple[int, int]:
        """The first and the last frame of a range of a motion region, which ends where nothing moves any more.

        So its end is not in it: the first frame that moves no more, or the end of the clip, behind its last frame.
        """
        first, end = self.frame(measured["start"]), round(measured["end"] * self.fps)
        return first, min(self.frames - 1, max(first, end - 1))

    def keyframes(self, keyframes: Sequence[Mapping[str, Any]]) -> list[tuple[Rectangle, bool]]:
        """A box's keyframes, their frames increasing, and whether it is there from each on.

        Of several in one frame the last holds; but one that ends a box does so after the frame it was seen in.
        """
        found: list[tuple[Rectangle, bool]] = []
        for each in keyframes:
            frame, visible = round(each["time"] * self.fps), each.get("visible", True)
            if found and frame <= found[-1][0].frame:
                if not visible and not found[-1][1]:
                    continue
                frame = found[-1][0].frame + (0 if visible else 1)
            if not visible and frame >= self.frames:
                continue  # it ends with the clip
            frame = min(frame, self.frames - 1)
            if found and frame == found[-1][0].frame:
                found.pop()
            found.append((_rectangle(frame, each), visible))
        return found

    def rectangles(self, keyframes: Sequence[Mapping[str, Any]]) -> Iterator[Rectangle]:
        """Where a box is in each frame in which it is there; between two keyframes it moves evenly."""
        known = self.keyframes(keyframes)
        for (before, visible), (after, _) in pairwise(known):
            for frame in range(before.frame, after.frame if visible else before.frame):
                yield _between(before, after, frame)
        if known:
            last, visible = known[-1]
            for frame in range(last.frame, self.frames if visible else last.frame):
                yield last._replace(frame=frame)


def _rectangle(frame: int, keyframe: Mapping[str, Any]) -> Rectangle:
    """A keyframe as a rectangle. What rounding has moved out of the picture is cut off."""
    x, y = keyframe["x"], keyframe["y"]
    return Rectangle(frame, x, y, min(keyframe["width"], 1 - x), min(keyframe["height"], 1 - y))


def _between(before: Rectangle, after: Rectangle, frame: int) -> Rectangle:
    part = (frame - before.frame) / (after.frame - before.frame)
    return Rectangle(frame, *(a + part * (b - a) for a, b in zip(before[1:], after[1:], strict=True)))
