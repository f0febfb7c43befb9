"""Clips: the files, their captions and their metadata."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, outerjoin, select
from sqlalchemy.orm import Session

from motiontrace.catalog.records import ClipRecord, EntryRecord, LabelRecord, Outcome, now
from motiontrace.catalog.repositories.clip_row import ClipRow
from motiontrace.catalog.repositories.descriptions import take_over
from motiontrace.catalog.repositories.filters import ClipFilter, conditions, id_of
from motiontrace.catalog.repositories.pages import Page
from motiontrace.catalog.repositories.statements import portions, upsert

_OF_FILE = ("sha256", "bytes", "modified_ns")
_DECODED = ("width", "height", "frames", "seconds", "fps", "codec", "damaged_frames", "time_jumps")


class Description(NamedTuple):
    """What people are shown of a clip in an index: its file, its caption, other columns, and its current label."""

    path: str | None  # absolute; None: the clip is gone
    caption: str | None  # None: the clip is gone
    metadata: dict[str, Any]
    verdict: str | None
    decision: str | None


def _told(column: str) -> Any:
    """A column as an index was told it; as it was told last where the index has the clip no more."""
    return func.coalesce(getattr(EntryRecord, column), getattr(ClipRecord, column))


_IN_INDEX = outerjoin(
    outerjoin(ClipRecord, LabelRecord, and_(LabelRecord.clip_id == ClipRecord.id, LabelRecord.current)),
    EntryRecord,
    and_(EntryRecord.clip_id == ClipRecord.id, EntryRecord.index_id == bindparam("index_id")),
)
# Built once: every answer asks it.
_DESCRIBED = (
    select(ClipRecord.id, _told("path"), _told("caption"), _told("extra"), LabelRecord.verdict, LabelRecord.decision)
    .select_from(_IN_INDEX)
    .where(ClipRecord.id.in_(bindparam("ids", expanding=True)))
)


class Details(NamedTuple):
    """A clip of an index as tools for reviewing get it: its file, its current label, and when and where it moves."""

    path: str
    bytes: int | None
    codec: str | None
    width: int | None
    height: int | None
    frames: int | None
    seconds: float | None
    fps: float | None
    caption: str
    metadata: dict[str, Any]
    verdict: str | None
    decision: str | None
    note: str | None  # None: nobody says anything of the clip
    ranges: list[dict[str, Any]]  # as LabelRecord has them
    boxes: list[dict[str, Any]]
    motion_region: dict[str, Any] | None  # as EntryRecord has it


_DETAILED = (
    select(
        ClipRecord.id,
        _told("path"),
        _told("bytes"),
        ClipRecord.codec,
        ClipRecord.width,
        ClipRecord.height,
        ClipRecord.frames,
        ClipRecord.seconds,
        ClipRecord.fps,
        _told("caption"),
        _told("extra"),
        LabelRecord.verdict,
        LabelRecord.decision,
        LabelRecord.note,
        LabelRecord.ranges,
        LabelRecord.boxes,
        EntryRecord.motion_region,
    )
    .select_from(_IN_INDEX)
    .where(ClipRecord.id.in_(bindparam("ids", expanding=True)))
)


class ClipRepository:
    """Reads and writes clips in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def upsert(self, rows: Iterable[ClipRow]) -> None:
        """Store clips; one of the same id is replaced as a whole, except for its time of creation.

        What is known of a file stays where a run could not read or decode it: other indexes may show the clip.
        """
        moment = now()
        times = {"created_at": moment, "updated_at": moment}
        values = [asdict(row) | times for row in self._with_known(list(rows))]
        upsert(self._session, ClipRecord, values, keep=["created_at"])

    def refresh(self, rows: Iterable[ClipRow]) -> None:
        """Take over what is told of clips that are the same files; what was decoded stays. Stores no new clip."""
        told = {row.id: row for row in rows}
        for clip in self.get_many(told).values():
            if take_over(clip, told[clip.id]):
                clip.updated_at = now()

    def _with_known(self, rows: list[ClipRow]) -> Iterator[ClipRow]:
        """The rows, of which those of files that were not decoded have what the catalog knows of the same file."""
        wanted = select(ClipRecord.id, *(getattr(ClipRecord, name) for name in ("path", *_OF_FILE, *_DECODED)))
        known: dict[str, Any] = {}
        for portion in portions(row.id for row in rows if row.codec is None):
            found = self._session.execute(wanted.where(ClipRecord.id.in_(portion), ClipRecord.codec.is_not(None)))
            known |= {clip.id: clip for clip in found}
        for row in rows:
            clip = known.get(row.id)
            columns: tuple[str, ...] = _DECODED
            if clip is not None and row.sha256 is None and row.path == clip.path:
                columns = (*_OF_FILE, *_DECODED)
            elif clip is None or row.sha256 != clip.sha256:
                columns = ()
            yield replace(row, **{name: getattr(clip, name) for name in columns})

    def get(self, clip_id: str) -> ClipRecord | None:
        """Give the clip of that id, or None."""
        return self._session.get(ClipRecord, clip_id)

    def sample_paths(self, count: int) -> list[str]:
        """Give the paths of `count` clips at random, of all where there are no more."""
        return list(self._session.scalars(select(ClipRecord.path).order_by(func.random()).limit(count)))

    def get_many(self, ids: Iterable[str]) -> dict[str, ClipRecord]:
        """Give the clips of these ids, by id; an unknown id is left out."""
        found: dict[str, ClipRecord] = {}
        for portion in portions(ids):
            query = select(ClipRecord).where(ClipRecord.id.in_(portion))
            found |= {clip.id: clip for clip in self._session.scalars(query)}
        return found

    def described(self, ids: Iterable[str], index_id: int) -> dict[str, Description]:
        """Give what people are shown of these clips in an index, by id; an unknown id is left out."""
        found: dict[str, Description] = {}
        for portion in portions(ids):
            rows = self._session.connection().execute(_DESCRIBED, {"ids": portion, "index_id": index_id})
            found |= {clip_id: Description(*described) for clip_id, *described in rows}
        return found

    def detailed(self, ids: Iterable[str], index_id: int) -> dict[str, Details]:
        """Give what tools for reviewing get of these clips in an index, by id; an unknown id is left out."""
        found: dict[str, Details] = {}
        for portion in portions(ids):
            rows = self._session.connection().execute(_DETAILED, {"ids": portion, "index_id": index_id})
            for clip_id, *rest in rows:
                clip = Details(*rest)
                ranges, boxes = clip.ranges or [], clip.boxes or []
                says_something = clip.verdict is not None or clip.decision is not None or ranges or boxes
                found[clip_id] = clip._replace(note=clip.note if says_something else None, ranges=ranges, boxes=boxes)
        return found

    def ids(self, index_id: int, filter: ClipFilter) -> list[str]:
        """Give the ids of the clips with a vector in the index that match, in no order."""
        query = select(EntryRecord.clip_id).where(EntryRecord.index_id == index_id, EntryRecord.outcome == "indexed")
        query = query.where(*conditions(self._session, filter, EntryRecord))
        return list(self._session.connection().scalars(query))  # past the ORM: there may be a million

    def page(
        self,
        *,
        index_id: int | None = None,
        outcome: Outcome | None = None,
        search: str | None = None,
        filter: ClipFilter | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[ClipRecord]:
        """List clips in the order of their ids, at most `limit` from behind the id `after`.

        With `index_id` only those with an entry in that index, with `outcome` (which needs `index_id`) only
        those with that outcome there; with `search` only those whose caption contains it, in any case; with
        `filter` only those that match. Caption and metadata are the index's own, else those that were told last.
        """
        if outcome is not None and index_id is None:
            raise ValueError("An outcome belongs to an index: name the index too.")
        # The same id in either table, but only an index on the filtered one gives a page without sorting all.
        told: type[ClipRecord | EntryRecord] = ClipRecord if index_id is None else EntryRecord
        key = id_of(told)
        query = select(ClipRecord).order_by(key).limit(limit + 1)
        if index_id is not None:
            query = query.join(EntryRecord, key == ClipRecord.id).where(EntryRecord.index_id == index_id)
        if outcome is not None:
            query = query.where(EntryRecord.outcome == outcome)
        if search:
            query = query.where(told.caption.icontains(search, autoescape=True))
        if filter is not None:
            query = query.where(*conditions(self._session, filter, told))
        if after is not None:
            query = query.where(key > after)
        clips = list(self._session.scalars(query))
        more = len(clips) > limit
        return Page(clips[:limit], clips[limit - 1].id if more else None)
