"""Repairs a file's clock that starts again, jumps or stands: joined recordings, or a counter that wraps.

The packets after such a place are moved in time, so that their first picture follows the picture before by one step.
Cuts within a recording stay as they are: only a clock that goes back, leaps or stands still is repaired.
"""

from fractions import Fraction
from typing import Any

BACK = 0.03  # seconds: a key frame this much earlier than the pictures before it is a joint; less is rounding
FAR_BACK = 1.0  # seconds: decoding times that were computed from display times may fall by less
LEAP = 60.0  # seconds without a picture that count as a leap of the clock,
STREAMED_LEAP = 10.0  # and in containers that are made to be cut and joined, such as MPEG-TS
STANDING = 3  # consecutive pictures with the time of the one before: MPEG-PS has single ones


class JoinedClock:
    """Moves the packets of one stream, in the order of the file.

    Attributes:
        joints: how often the clock started again, leapt or stood.
    """

    def __init__(self, tick: Fraction, rate: Fraction | None, streamed: bool) -> None:
        """`tick` is the stream's unit of time in seconds, `rate` its usual frames a second, where it is known."""
        self.joints = 0
        self._back, self._far_back = BACK / float(tick), FAR_BACK / float(tick)
        self._leap = (STREAMED_LEAP if streamed else LEAP) / float(tick)
        self._step = max(1, round(1 / (rate * tick))) if rate else 1
        self._moved = 0  # ticks to add
        self._delay = 0  # ticks between decoding and showing, at most
        self._decoded: int | None = None  # the file's own decoding time of the last packet that had one
        self._shown: int | None = None  # the latest time of a picture so far, moved
        self._times: tuple[int | None, int | None] | None = None  # the file's own, of the last picture,
        self._standing = 0  # and how many on end have had them before

    def move(self, packet: Any, *, picture: bool) -> None:
        """Set the times of a packet to the repaired clock; `picture`: it holds a picture that is shown."""
        if packet.pts is not None and packet.dts is not None:
            # Just before a joint, an MPEG-PS packet may have the time of the picture after the joint.
            if abs(packet.pts - packet.dts) > self._leap:
                packet.pts = packet.dts + self._delay
            self._delay = max(self._delay, packet.pts - packet.dts)
        time = packet.dts if packet.pts is None else packet.pts
        if time is None:
            return
        if picture:
            self._standing = self._standing + 1 if self._times == (packet.pts, packet.dts) else 0
            self._times = (packet.pts, packet.dts)
        anew, stands = self._starts_anew(packet, time), picture and self._standing >= STANDING
        self.joints += anew or (stands and self._standing == STANDING)
        if anew or stands:
            self._moved = (self._shown or 0) + self._step - time
        if packet.dts is not None:
            self._decoded = packet.dts
            packet.dts += self._moved
        if packet.pts is not None:
            packet.pts += self._moved
        shown = time + self._moved
        self._shown = shown if self._shown is None else max(self._shown, shown)

    def _starts_anew(self, packet: Any, time: int) -> bool:
        if packet.is_keyframe and self._shown is not None:
            # All pictures that come before a key frame in the file are shown before it.
            ahead = time + self._moved - self._shown
            if ahead < -self._back or (packet.dts is None and ahead > self._leap):
                return True
        if packet.dts is None or self._decoded is None:
            return False
        gap: int = packet.dts - self._decoded
        if gap < -self._far_back or gap > self._leap:
            return True
        self._step = gap if gap > 0 else self._step
        return False
