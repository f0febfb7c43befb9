"""The rows of an exported ranking: a clip's place, and what the catalog has about the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from motiontrace.catalog.repositories import ClipRepository
from motiontrace.documents import links
from motiontrace.formats.export import COLUMNS
from motiontrace.formats.file_names import file_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from motiontrace.answering.documents import ShownPath
    from motiontrace.catalog.repositories.clips import Details
    from motiontrace.documents.chance import Chance
    from motiontrace.documents.queries import Place

End = Literal["top", "bottom"]


@dataclass(frozen=True)
class Row:
    """A clip of an exported ranking.

    Attributes:
        place: where it stands.
        end: the end of the ranking that the export found it from.
        clip: what the index knows of it; None once it has left the catalog.
        path: of its file, as the reader may see it; None: not at all.
        chance: where chance lies among the scores of the ranking; None where that is not known.
    """

    place: Place
    end: End
    clip: Details | None
    path: str | None
    chance: Chance | None

    def document(self) -> dict[str, Any]:
        """Give the row as JSON values, its columns named as in COLUMNS."""
        clip, place = self.clip, self.place
        known: dict[str, Any] = {"ranges": [], "boxes": [], "metadata": {}} if clip is None else clip._asdict()
        own = {
            "file_name": None if clip is None else file_name(clip.path),
            "path": self.path,
            "rank": place.rank,
            "score": place.score,
            "percentile": place.percentile,
            "id": place.id,
            "end": self.end,
            "stands_out": place.stands_out,
            "chance_low": self.chance and self.chance.low,
            "chance_high": self.chance and self.chance.high,
            "video_url": links.video(place.id),
        }
        return {name: own[name] if name in own else known.get(name) for name in COLUMNS}


def described(
    session: Session, index_id: int, places: Sequence[Place], end: End, shown: ShownPath, chance: Chance | None
) -> list[Row]:
    """Places in the ranking of an index with what is known there of their clips, paths as they may be `shown`."""
    clips = ClipRepository(session).detailed([place.id for place in places], index_id)
    found = ((place, clips.get(place.id)) for place in places)
    return [Row(place, end, clip, None if clip is None else shown(clip.path), chance) for place, clip in found]
