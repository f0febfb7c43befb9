"""What can be asked: questions about a video, and about a clip."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.documents.filters import Filter
    from motiontrace.preconditions import Precondition


@dataclass(frozen=True)
class _Question:
    """What every question has.

    Attributes:
        k: how many clips to give from each end of the ranking, 1 to 1000.
        index: the index to ask; None where there is only one.
        filter: which clips to rank; None: all that move.
        precondition: how the query is seen against what all clips of the index share: "none", "centre" or "whiten".
        damping: to whiten, lambda as a multiple of the mean eigenvalue, 1e-3 to 1e6; None: the service's choice.
    """

    _: KW_ONLY
    k: int = 10
    index: str | None = None
    filter: Filter | None = None
    precondition: Precondition = "none"
    damping: float | None = None

    def fields(self) -> dict[str, Any]:
        """The question as JSON has it, without what is left to the service."""
        fields: dict[str, Any] = {"k": self.k}
        if self.index is not None:
            fields["index"] = self.index
        if self.filter is not None:
            fields["filter"] = self.filter.model_dump(mode="json", exclude_defaults=True)
        if self.precondition != "none":
            fields["precondition"] = self.precondition
        if self.damping is not None:
            fields["damping"] = self.damping
        return fields


@dataclass(frozen=True)
class VideoQuestion(_Question):
    """Which clips taught the motion of `video`, a file that was generated from `prompt`?"""

    video: Path
    prompt: str

    def fields(self) -> dict[str, Any]:
        """The question as JSON has it; the file goes beside it."""
        return super().fields() | {"prompt": self.prompt}


@dataclass(frozen=True)
class ClipQuestion(_Question):
    """Which clips move like `clip`, the id of one in the index?"""

    clip: str

    def fields(self) -> dict[str, Any]:
        """The question as JSON has it."""
        return super().fields() | {"clip": self.clip}
