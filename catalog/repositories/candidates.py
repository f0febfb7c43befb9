"""What choosing clips for training reads of them: a column or a decision of very many, the files of a few."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import String, bindparam, cast, column, func, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import NullType

from motiontrace.catalog.records import Decision, EntryRecord, LabelRecord, Outcome
from motiontrace.catalog.repositories.statements import portions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import Session

    from motiontrace.catalog.repositories.filters import Scalar

_AT_ONCE = 10_000  # rows fetched


class ClipFile(NamedTuple):
    """A clip as a trainer needs it."""

    path: str  # absolute
    bytes: int | None  # of the file when it was indexed
    caption: str
    metadata: dict[str, Any]


# Built once: a selection asks it thousands of times.
_FILES = select(EntryRecord.clip_id, EntryRecord.path, EntryRecord.bytes, EntryRecord.caption, EntryRecord.extra).where(
    EntryRecord.index_id == bindparam("index_id"), EntryRecord.clip_id.in_(bindparam("ids", expanding=True))
)


class CandidateRepository:
    """Reads, of one index, in the given session. Ranges of ids are inclusive, in the order of code points."""

    def __init__(self, session: Session, index_id: int) -> None:
        self._session = session
        self._index_id = index_id

    def counts(self) -> dict[Outcome, int]:
        """Count the index's clips by outcome, 0 included."""
        grouped = select(EntryRecord.outcome, func.count()).where(EntryRecord.index_id == self._index_id)
        found: dict[Outcome, int] = {"indexed": 0, "no_motion": 0, "failed": 0}
        for outcome, count in self._session.execute(grouped.group_by(EntryRecord.outcome)):
            found |= {outcome: count}
        return found

    def still(self) -> list[str]:
        """List the ids of the clips in which nothing moves, ascending."""
        moves_not = select(EntryRecord.clip_id).where(
            EntryRecord.index_id == self._index_id, EntryRecord.outcome == "no_motion"
        )
        return list(self._session.connection().scalars(moves_not.order_by(EntryRecord.clip_id)))

    def decisions(self, first: str, last: str) -> dict[str, Decision]:
        """Give what reviewers have decided of the clips from one id to another; those without a decision are left out.

        Clips of other indexes may be among them.
        """
        said = select(LabelRecord.clip_id, LabelRecord.decision).where(
            # Not `current` alone, by which SQLite would look up all.
            LabelRecord.clip_id.between(first, last),
            LabelRecord.current.is_not(False),
            LabelRecord.decision.is_not(None),
        )
        rows = self._session.connection().execute(said)
        return {clip_id: decision for clip_id, decision in rows if decision is not None}

    def values(self, name: str, first: str, last: str) -> Iterator[tuple[str, Scalar]]:
        """Give a metadata column of the index's clips from one id to another; those without the column are left out.

        A list or an object is no value, and null is none.
        """
        postgresql = self._session.get_bind().dialect.name == "postgresql"
        value = _member_as_text(name) if postgresql else _member(name)
        wanted = select(EntryRecord.clip_id, value).where(
            EntryRecord.index_id == self._index_id, EntryRecord.clip_id.between(first, last)
        )
        rows = self._session.connection().execute(wanted, execution_options={"yield_per": _AT_ONCE})
        for clip_id, text in rows:
            found = None if text is None else json.loads(text)
            if found is not None and not isinstance(found, list | dict):
                yield clip_id, found

    def paths(self, ids: Iterable[str]) -> dict[str, str]:
        """Give the paths of these clips' files, by id; one that is not in the index is left out."""
        found: dict[str, str] = {}
        for portion in portions(ids):
            wanted = select(EntryRecord.clip_id, EntryRecord.path).where(
                EntryRecord.index_id == self._index_id, EntryRecord.clip_id.in_(portion)
            )
            found |= {row.clip_id: row.path for row in self._session.connection().execute(wanted)}
        return found

    def files(self, ids: Iterable[str]) -> dict[str, ClipFile]:
        """Give the files of these clips, by id; one that is not in the index is left out."""
        found: dict[str, ClipFile] = {}
        for portion in portions(ids):
            # Past the ORM: quicker.
            rows = self._session.connection().execute(_FILES, {"ids": portion, "index_id": self._index_id})
            found |= {clip_id: ClipFile(*rest) for clip_id, *rest in rows}
        return found


def _member_as_text(name: str) -> Any:
    """PostgreSQL: the member of that name as JSON text."""
    return cast(type_coerce(EntryRecord.extra, JSONB)[name], String)


def _member(name: str) -> Any:
    """SQLite: the same, found by comparison; a path would have to quote the name."""
    member = func.json_each(EntryRecord.extra).table_valued(
        column("key", String), column("value", NullType), column("type", String), name="member"
    )
    found = func.json_quote(member.c.value)
    # JSON's true is 1 to SQLite.
    text = func.iif(member.c.type.in_(("true", "false")), member.c.type, found)
    return select(text).where(member.c.key == name).scalar_subquery()
