"""What became of the rows of an indexing run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Result = Literal["indexed", "no_motion", "failed", "unchanged", "updated", "duplicate", "unreachable"]
"""`updated`: another path, caption or metadata, which leaves the gradient as it is: only the catalog was written."""


@dataclass
class Captured:
    """How much of the sketches of clips that the basis was not learned from lies within it."""

    clips: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """Mean share of the squared length, in [0, 1]; 0 where there was no clip."""
        return self.total / self.clips if self.clips else 0.0


@dataclass
class Summary:
    """What became of the rows of a run."""

    results: Counter[Result] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """A line for each row that failed, was refused or named a clip twice, in the manifest's order."""
    remarks: list[str] = field(default_factory=list)
    """A line for each clip whose file decoding found something wrong with and that is used, in the manifest's order."""
    recovered: list[str] = field(default_factory=list)
    """What was damaged when the index was opened, and which files were set aside, neither used nor deleted."""
    withdrawn: int = 0
    """Clips taken out because their file has other content now, or an id of its own."""
    stage_seconds: Counter[str] = field(default_factory=Counter)
    """Work seconds by stage; stages run side by side, so they add up to more than the run took."""
    seconds: float = 0.0
    broken_batches: int = 0
    """Batches that failed as a whole, as for want of memory, and were computed clip by clip."""
    captured: Captured = field(default_factory=Captured)
