"""Entries: what became of each clip in an index, and which file holds its vector."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from catalog.records import ClipRecord, EntryRecord, IndexRecord, Outcome, now
from catalog.repositories.statements import portions, upsert
from catalog.repositories.storable import check_storable


@dataclass(frozen=True, kw_only=True)
class EntryRow:
    """What became of one clip: `indexed` (it has a vector), `no_motion`, or `failed` with a reason.

    Raises:
        ValueError: the reason is not storable, see `check_storable`.
    """

    clip_id: str
    outcome: Outcome
    fingerprint: str  # sha256 hex of the file's sha256, the caption and the recipe digest
    reason_code: str | None = None  # for programs, as VideoError.code
    reason: str | None = None  # for people
    motion_mean: float | None = None  # pixels a frame
    motion_peak: float | None = None  # pixels a frame
    motion_region: dict[str, Any] | None = None  # when and where it moves, as `MotionRegion.to_json` says it
    compute_seconds: float | None = None

    def __post_init__(self) -> None:
        check_storable("The reason", self.reason)


class Fingerprint(NamedTuple):
    """What a clip was made of when it was last computed, and what came of it."""

    fingerprint: str
    outcome: Outcome


class KnownFile(NamedTuple):
    """A file as it was when its clip was last computed."""

    id: str
    sha256: str | None
    bytes: int | None
    modified_ns: int | None


class OtherUse(NamedTuple):
    """A clip as another index has it."""

    index_name: str
    path: str
    sha256: str | None


class EntryRepository:
    """Reads and writes entries in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def publish(self, index_id: int, rows: Iterable[EntryRow], *, segment: str | None) -> None:
        """Store what became of these clips; an older entry of the same clip is replaced.

        `segment` names the file with the vectors of the rows that are `indexed`.
        """
        moment = now()
        values = [
            asdict(row)
            | {
                "index_id": index_id,
                "computed_at": moment,
                "segment": segment if row.outcome == "indexed" else None,
            }
            for row in rows
        ]
        upsert(self._session, EntryRecord, values)
        self._touch(index_id)

    def get_many(self, index_id: int, clip_ids: Iterable[str]) -> dict[str, EntryRecord]:
        """Give the entries of these clips in the index, by clip id; a clip without one is left out."""
        found: dict[str, EntryRecord] = {}
        for portion in portions(clip_ids):
            query = select(EntryRecord).where(EntryRecord.index_id == index_id, EntryRecord.clip_id.in_(portion))
            found |= {entry.clip_id: entry for entry in self._session.scalars(query)}
        return found

    def of_clip(self, clip_id: str) -> list[EntryRecord]:
        """List the clip's entries in every index, by index id."""
        query = select(EntryRecord).where(EntryRecord.clip_id == clip_id).order_by(EntryRecord.index_id)
        return list(self._session.scalars(query))

    def fingerprints(self, index_id: int) -> dict[str, Fingerprint]:
        """Give every clip's fingerprint and outcome in the index, by clip id."""
        query = select(EntryRecord.clip_id, EntryRecord.fingerprint, EntryRecord.outcome).where(
            EntryRecord.index_id == index_id
        )
        return {clip_id: Fingerprint(made_of, came) for clip_id, made_of, came in self._session.execute(query)}

    def files(self, index_id: int) -> dict[str, list[KnownFile]]:
        """Give the files of the index's clips by path; several clips may name one file."""
        query = (
            select(ClipRecord.path, ClipRecord.id, ClipRecord.sha256, ClipRecord.bytes, ClipRecord.modified_ns)
            .join(EntryRecord, EntryRecord.clip_id == ClipRecord.id)
            .where(EntryRecord.index_id == index_id)
        )
        files: dict[str, list[KnownFile]] = {}
        for path, clip_id, sha256, size, modified_ns in self._session.execute(query):
            files.setdefault(path, []).append(KnownFile(clip_id, sha256, size, modified_ns))
        return files

    def elsewhere(self, index_id: int, clip_ids: Iterable[str]) -> dict[str, OtherUse]:
        """Give those of these clips that another index has too, by id; of several such indexes, any."""
        found: dict[str, OtherUse] = {}
        for portion in portions(clip_ids):
            query = (
                select(ClipRecord.id, IndexRecord.name, ClipRecord.path, ClipRecord.sha256)
                .join(EntryRecord, EntryRecord.clip_id == ClipRecord.id)
                .join(IndexRecord, IndexRecord.id == EntryRecord.index_id)
                .where(EntryRecord.index_id != index_id, ClipRecord.id.in_(portion))
            )
            found |= {clip_id: OtherUse(name, path, sha) for clip_id, name, path, sha in self._session.execute(query)}
        return found

    def segments(self, index_id: int) -> dict[str, set[str]]:
        """Give the ids of the clips whose vectors each segment holds, by segment: what must be published."""
        held: dict[str, set[str]] = {}
        query = select(EntryRecord.segment, EntryRecord.clip_id).where(
            EntryRecord.index_id == index_id, EntryRecord.segment.is_not(None)
        )
        for segment, clip_id in self._session.execute(query):
            assert segment is not None
            held.setdefault(segment, set()).add(clip_id)
        return held

    def move(self, index_id: int, merged: Iterable[str], segment: str, first: str, last: str) -> None:
        """Say that the vectors of clips `first` to `last` in the segments `merged` are in `segment` now."""
        self._session.execute(
            update(EntryRecord)
            .where(
                EntryRecord.index_id == index_id,
                EntryRecord.segment.in_(list(merged)),
                EntryRecord.clip_id.between(first, last),
            )
            .values(segment=segment)
        )
        self._touch(index_id)

    def forget(self, index_id: int, clip_ids: Iterable[str]) -> None:
        """Delete these clips' entries, so that the indexer computes them again."""
        for portion in portions(clip_ids):
            self._session.execute(
                delete(EntryRecord).where(EntryRecord.index_id == index_id, EntryRecord.clip_id.in_(portion))
            )
        self._touch(index_id)

    def _touch(self, index_id: int) -> None:
        self._session.execute(update(IndexRecord).where(IndexRecord.id == index_id).values(updated_at=now()))
