"""Counts the pictures that a file promises and those that decoding gives: how much of a clip is damaged."""

from statistics import median

import numpy as np

from motiontrace.attribution.video.limits import FETCH_AGAIN, VideoError

PASSED_OVER = 0.1  # the decoder may refuse at most this share of the packets that hold a picture
EVEN = 0.9  # a rate is even if at least this share of the times between pictures are alike,
ALIKE = 0.002  # within so many seconds


class Tally:
    """Counts one stream's pictures while it is decoded.

    Attributes:
        promised: packets read so far that hold a picture.
        had: frames that the decoder gave.
        impaired: frames that the decoder marks as corrupt.
        refused: packets that hold a picture and that the decoder refused, from the first key frame on.
    """

    def __init__(self, name: str, codec: str, *, broken: bool = False) -> None:
        """`name` is how messages call the file; `broken`: its container has a hole."""
        self.promised = self.had = self.impaired = self.refused = 0
        self._name, self._codec = name, codec
        self._interlaced = 0
        self._begun = False
        self._first_refusal = ""
        self._broken = broken
        self._times: list[float] = []

    @property
    def damaged(self) -> int:
        """Pictures that are missing, or that the decoder marks as corrupt."""
        # Where a picture is stored as two halves, H.264 may have each in a packet of its own.
        halves = self._interlaced if self._codec == "h264" else 0
        missing = max(self.refused, self.promised - self.had - halves)
        if self._broken or missing or self.impaired:
            missing = max(missing, self._gaps())
        return max(missing + self.impaired, int(self._broken))

    def _gaps(self) -> int:
        """Missing pictures by the gaps between times, where the rate is even. A container may lose whole packets."""
        steps = np.diff(self._times)
        step = median(steps.tolist()) if len(steps) else 0.0
        if step <= ALIKE or np.mean(np.abs(steps - step) <= ALIKE) < EVEN:
            return 0
        return int((np.rint(steps / step) - 1).clip(0).sum())

    def took(self, picture: bool) -> None:
        """Count a packet that the decoder accepted; `picture`: it holds one."""
        self.promised += picture
        self._begun = self._begun or picture

    def gave(self, time: float, *, interlaced: bool, corrupt: bool) -> None:
        """Count a frame that the decoder gave; `time` is when it is shown, in seconds."""
        self._times.append(time)
        self.had += 1
        self._interlaced += interlaced
        self.impaired += corrupt

    def refuse(self, why: str, *, key_frame: bool) -> None:
        """Count a packet with a picture that the decoder refused. Before the first key frame that is no damage."""
        self.promised += 1
        if self._begun or key_frame:
            self._begun = True
            self.refused += 1
            self._first_refusal = self._first_refusal or f"beyond frame {self.had:,} ({why})"

    def check(self) -> None:
        """Refuse a file that gave no frame, or with more broken packets than `PASSED_OVER`; raises VideoError."""
        if not self.had:
            raise VideoError(
                "no_frames",
                f"No frame of {self._name} can be decoded: its {self._codec} video is empty or damaged. {FETCH_AGAIN}",
            )
        if self.refused > PASSED_OVER * self.promised:
            raise VideoError(
                "damaged",
                f"{self._name} is damaged: {self.refused:,} of its {self.promised:,} {self._codec} packets cannot be "
                f"decoded, the first {self._first_refusal}; at most {PASSED_OVER:.0%} are passed over. {FETCH_AGAIN}",
            )
