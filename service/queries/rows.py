"""The rows of an exported ranking: a clip's place, and what the catalog knows of the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from catalog.repositories import ClipRepository
from service import links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from catalog.repositories.clips import Details
    from service.queries.schemas import Place

End = Literal["top", "bottom"]
COLUMNS = (
    "rank", "score", "percentile", "id", "end", "caption", "verdict", "decision", "note", "ranges", "boxes",
    "motion_region", "width", "height", "frames", "seconds", "fps", "metadata", "video_url",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A clip of an exported ranking.

    Attributes:
        place: where it stands.
        end: the end of the ranking that the export found it from.
        clip: what the catalog knows of it; None once it has left the catalog.
    """

    place: Place
    end: End
    clip: Details | None

    def document(self) -> dict[str, Any]:
        """Give the row as JSON values, its columns named as in COLUMNS."""
        clip, place = self.clip, self.place
        known: dict[str, Any] = {"ranges": [], "boxes": [], "metadata": {}} if clip is None else clip._asdict()
        own = {
            "rank": place.rank, "score": place.score, "percentile": place.percentile, "id": place.id, "end": self.end,
            "video_url": links.video(place.id),
        }  # fmt: skip
        return {name: own[name] if name in own else known.get(name) for name in COLUMNS}


def described(session: Session, index_id: int, places: Sequence[Place], end: End) -> list[Row]:
    """Places in the ranking of an index with what the catalog knows of their clips."""
    clips = ClipRepository(session).detailed([place.id for place in places], index_id)
    return [Row(place, end, clips.get(place.id)) for place in places]
