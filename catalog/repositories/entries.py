"""Entries: what an index was told of each of its clips, what became of it, and which file holds its vector."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, select, update

from motiontrace.catalog.records import ClipRecord, EntryRecord, IndexRecord, Outcome, now
from motiontrace.catalog.repositories.descriptions import COLUMNS, take_over
from motiontrace.catalog.repositories.statements import portions, upsert
from motiontrace.catalog.repositories.storable import check_storable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

    from motiontrace.catalog.repositories.clip_row import ClipRow


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
    """A file as it was when the index last looked at it."""

    id: str
    sha256: str | None
    bytes: int | None
    modified_ns: int | None


class OtherUse(NamedTuple):
    """A clip as another index was told of it."""

    index_name: str
    path: str
    sha256: str | None


class EntryRepository:
    """Reads and writes entries in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def publish(self, index_id: int, rows: Iterable[EntryRow], *, segment: str | None) -> None:
        """Store what became of these clips; an older entry of the same clip is replaced.

        The index is described by what the catalog has of these clips now: store them first, in the same session.
        `segment` names the file with the vectors of the rows that are `indexed`.
        """
        moment, rows = now(), list(rows)
        told = self._described(row.clip_id for row in rows)
        values = [
            asdict(row)
            | told[row.clip_id]
            | {
                "index_id": index_id,
                "described_at": moment,
                "computed_at": moment,
                "segment": segment if row.outcome == "indexed" else None,
            }
            for row in rows
        ]
        upsert(self._session, EntryRecord, values)
        self._touch(index_id)

    def refresh(self, index_id: int, rows: Iterable[ClipRow]) -> set[str]:
        """Take over what the index is told of clips whose vectors stay as they are; stores no new entry.

        Returns:
            The ids of the clips that have another path, caption or metadata now.
        """
        told, others = {row.id: row for row in rows}, set()
        for entry in self.get_many(index_id, told).values():
            if take_over(entry, told[entry.clip_id]):
                entry.described_at = now()
                others.add(entry.clip_id)
        return others

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

    def other_paths(self, clip: ClipRecord) -> list[str]:
        """Give the paths at which indexes were told of the same content as the clip's, without the clip's own."""
        query = select(EntryRecord.path).where(
            EntryRecord.clip_id == clip.id, EntryRecord.path != clip.path, EntryRecord.sha256 == clip.sha256
        )
        return list(self._session.scalars(query.order_by(EntryRecord.index_id)))

    def fingerprints(self, index_id: int) -> dict[str, Fingerprint]:
        """Give every clip's fingerprint and outcome in the index, by clip id."""
        query = select(EntryRecord.clip_id, EntryRecord.fingerprint, EntryRecord.outcome).where(
            EntryRecord.index_id == index_id
        )
        return {clip_id: Fingerprint(made_of, came) for clip_id, made_of, came in self._session.execute(query)}

    def files(self, index_id: int) -> dict[str, list[KnownFile]]:
        """Give the files of the index's clips by path; several clips may name one file."""
        query = select(
            EntryRecord.path, EntryRecord.clip_id, EntryRecord.sha256, EntryRecord.bytes, EntryRecord.modified_ns
        ).where(EntryRecord.index_id == index_id)
        files: dict[str, list[KnownFile]] = {}
        for path, clip_id, sha256, size, modified_ns in self._session.execute(query):
            files.setdefault(path, []).append(KnownFile(clip_id, sha256, size, modified_ns))
        return files

    def elsewhere(self, index_id: int, clip_ids: Iterable[str]) -> dict[str, OtherUse]:
        """Give those of these clips that another index has too, by id; of several such indexes, any."""
        found: dict[str, OtherUse] = {}
        for portion in portions(clip_ids):
            query = (
                select(EntryRecord.clip_id, IndexRecord.name, EntryRecord.path, EntryRecord.sha256)
                .join(IndexRecord, IndexRecord.id == EntryRecord.index_id)
                .where(EntryRecord.index_id != index_id, EntryRecord.clip_id.in_(portion))
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

    def _described(self, clip_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the catalog has of these clips now, as columns of their entries."""
        columns = [getattr(ClipRecord, name) for name in COLUMNS]
        found: dict[str, dict[str, Any]] = {}
        for portion in portions(clip_ids):
            rows = self._session.execute(select(ClipRecord.id, *columns).where(ClipRecord.id.in_(portion)))
            found |= {clip_id: dict(zip(COLUMNS, values, strict=True)) for clip_id, *values in rows}
        return found

    def _touch(self, index_id: int) -> None:
        self._session.execute(update(IndexRecord).where(IndexRecord.id == index_id).values(updated_at=now()))
