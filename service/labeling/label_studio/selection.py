"""Which clips a push shows: both ends of the rankings of queries, each clip once, and why some cannot be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from motiontrace.answering.reading import Reading
from motiontrace.catalog.repositories import ClipRepository, EntryRepository
from motiontrace.documents.label_studio import LeftOut
from motiontrace.files import FileError, check_file
from motiontrace.service.clips.video import video_path
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from motiontrace.catalog.records import ClipRecord, IndexRecord, QueryRecord
    from motiontrace.documents.chance import Chance
    from motiontrace.documents.filters import Filter
    from motiontrace.documents.queries import Hit
    from motiontrace.service.context import Context

# What most browsers play in a video element: not GIF; hevc where the processor decodes it.
PLAYED = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "theora"})
GONE = "It is no longer in the catalog."
End = Literal["top", "bottom"]


@dataclass(frozen=True)
class Candidate:
    """A clip at an end of a query's ranking.

    Attributes:
        hit: where it stands there, and what it is labelled as.
        end: of the ranking.
        query: the query.
        index: the name of the query's index.
        clip: its record; its frame rate is known, and 1 a second at least.
        region: when and where it moves, as EntryRecord.motion_region; None where that is not known.
        chance: where chance lies among the query's scores; None where that is not known.
    """

    hit: Hit
    end: End
    query: QueryRecord
    index: str
    clip: ClipRecord
    region: dict[str, Any] | None
    chance: Chance | None


@dataclass(frozen=True)
class Selection:
    """The clips of a push, and those that cannot be shown."""

    candidates: list[Candidate]
    left_out: list[LeftOut]


def select(service: Context, queries: Sequence[str], top: int, bottom: int, filter: Filter | None) -> Selection:
    """The first `top` and the last `bottom` clips of each query's ranking.

    A clip of several queries is shown for the first of them; one that is at both ends of a short ranking, for the end
    that it is nearer to.

    Raises:
        QuestionError: there is no such query, or it is not done.
    """
    selection = Selection([], [])
    known: set[str] = set()
    for query_id in dict.fromkeys(queries):
        ends = _Ends.of(service, query_id, top, bottom, filter)
        places = {hit.id: (hit, end) for hit, end in ends.hits() if hit.id not in known}
        known |= places.keys()
        with service.database.reading() as session:
            clips = ClipRepository(session).get_many(places)
            entries = EntryRepository(session).get_many(ends.index.id, places)
        for clip_id, (hit, end) in places.items():
            clip, entry = clips.get(clip_id), entries.get(clip_id)
            reason = _why_not(service, clip)
            if clip is None or reason is not None:
                selection.left_out.append(LeftOut(clip=clip_id, reason=reason or GONE))
                continue
            region = None if entry is None else entry.motion_region
            selection.candidates.append(Candidate(hit, end, ends.query, ends.index.name, clip, region, ends.chance))
    return selection


@dataclass
class _Ends:
    """Both ends of a query's ranking."""

    query: QueryRecord
    index: IndexRecord
    ranked: int
    chance: Chance | None
    top: list[Hit]
    bottom: list[Hit]

    @classmethod
    def of(cls, service: Context, query_id: str, top: int, bottom: int, filter: Filter | None) -> Self:
        """Read them; raises as Reading.open does."""
        readings = [Reading.open(service, query_id, filter, end) for end in ("top", "bottom")]
        found = [
            reading.portion(None, count)[0] if count else []
            for reading, count in zip(readings, (top, bottom), strict=True)
        ]
        ranked = max(reading.ranked for reading in readings)
        return cls(readings[0].query, readings[0].index, ranked, readings[0].chance, *found)

    def hits(self) -> Iterator[tuple[Hit, End]]:
        """Each clip once, from the top down and then from the bottom up."""
        top, bottom = ({hit.id for hit in end} for end in (self.top, self.bottom))
        for hit in self.top:
            if hit.id not in bottom or self._is_nearer_to_top(hit):
                yield hit, "top"
        for hit in self.bottom:
            if hit.id not in top or not self._is_nearer_to_top(hit):
                yield hit, "bottom"

    def _is_nearer_to_top(self, hit: Hit) -> bool:
        return hit.rank - 1 <= self.ranked - hit.rank


def _why_not(service: Context, clip: ClipRecord | None) -> str | None:
    """Why a clip cannot be shown; None: it can."""
    if clip is None:
        return GONE
    if clip.fps is None or clip.fps < 1:
        return "Label Studio cannot count its frames: its frame rate is not known, or below one frame a second."
    try:
        path = video_path(service, clip)
    except ProblemError as problem:
        return f"{problem.detail} {problem.todo}"
    if clip.codec not in PLAYED:
        return f"Browsers do not play {clip.codec}: make an MP4 file with H.264 of it, and index that."
    try:
        check_file(path)
    except FileError as error:
        return f"Its file {error.reason}."
    return None
