"""One clock for a file whose own starts again or jumps: recordings put together, camcorders, a counter that wraps.

The packets behind such a place are moved in time, so that their first picture is shown one step after the last one
before it. What is cut together within a recording stays as it is: only a clock that goes back or leaps is mended.
"""

from fractions import Fraction
from typing import Any

BACK = 0.1  # seconds: less is a writer's rounding
LEAP = 60.0  # seconds without a picture that nobody films,
STREAMED_LEAP = 10.0  # and in containers that are made to be cut and joined, such as MPEG-TS


class JoinedClock:
    """Moves the packets of one stream, in the order of the file.

    Attributes:
        joints: how often the clock started again or leapt.
    """

    def __init__(self, tick: Fraction, rate: Fraction | None, streamed: bool) -> None:
        """``tick`` is the stream's unit of time in seconds, ``rate`` its usual frames a second, where it is known."""
        self.joints = 0
        self._back = BACK / float(tick)
        self._leap = (STREAMED_LEAP if streamed else LEAP) / float(tick)
        self._step = max(1, round(1 / (rate * tick))) if rate else 1
        self._moved = 0  # ticks to add
        self._mark: int | None = None  # the file's own time of the packet before
        self._shown: int | None = None  # the latest time of a picture so far, moved

    def move(self, packet: Any) -> None:
        """Set the times of a packet to the one clock."""
        # Decoding times never fall, whatever the order of the pictures. Of key frames the times of showing do not.
        mark = packet.dts if packet.dts is not None or not packet.is_keyframe else packet.pts
        if mark is not None:
            if self._mark is not None:
                self._follow(mark - self._mark, mark if packet.pts is None else packet.pts)
            self._mark = mark
        if packet.dts is not None:
            packet.dts += self._moved
        if packet.pts is not None:
            packet.pts += self._moved
            self._shown = packet.pts if self._shown is None else max(self._shown, packet.pts)

    def _follow(self, gap: int, time: int) -> None:
        if -self._back <= gap <= self._leap:
            self._step = gap if gap > 0 else self._step
        elif self._shown is not None:
            self.joints += 1
            self._moved = self._shown + self._step - time
