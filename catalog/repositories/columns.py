"""The columns of clips' metadata, and the values and verdicts that there are: what a filter can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, literal, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from motiontrace.catalog.records import ClipRecord, EntryRecord, LabelRecord
from motiontrace.catalog.repositories.filters import is_any_of, members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from motiontrace.catalog.repositories.filters import Scalar

_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


class ColumnRepository:
    """Reads in the given session, of the clips of one index, or of all where `index_id` is None.

    Each call may read all of the clips' metadata.
    """

    def __init__(self, session: Session, index_id: int | None) -> None:
        self._session = session
        self._index_id = index_id
        # Without an index what was told last of each clip, as everywhere.
        self._told: type[ClipRecord | EntryRecord] = ClipRecord if index_id is None else EntryRecord
        self._postgresql = session.get_bind().dialect.name == "postgresql"

    def has(self, name: str) -> bool:
        """Tell whether any clip has a column of that name."""
        if self._postgresql:
            found = select(literal(1)).where(type_coerce(self._told.extra, JSONB).has_key(name))
        else:
            member = members(self._told.extra)
            found = select(literal(1)).select_from(self._told, member).where(member.c.key == name)
        return self._session.scalar(self._of_index(found).limit(1)) is not None

    def names(self, limit: int) -> list[str]:
        """List the names of columns that any clip has, at most `limit`, by code point."""
        if self._postgresql:
            key = func.jsonb_object_keys(type_coerce(self._told.extra, JSONB)).column_valued(
                "key", joins_implicitly=True
            )
            found = select(key).select_from(self._told).distinct()
        else:
            member = members(self._told.extra)
            found = select(member.c.key).select_from(self._told, member).distinct()
        return sorted(self._session.scalars(self._of_index(found).limit(limit)))

    def values(self, name: str, limit: int, among: Sequence[Scalar] | None = None) -> list[Scalar]:
        """List the values that any clip has in a column, each once, at most `limit`, in no order.

        A list or an object is no value. With `among` only those that equal one of these, as filters compare them; a
        number may come twice then, as 1 and as 1.0.
        """
        if self._postgresql:
            extra = type_coerce(self._told.extra, JSONB)
            value = extra[name]
            scalar = func.jsonb_typeof(value).not_in(("array", "object"))
            found = select(value).where(extra.has_key(name), scalar).distinct()
            if among is not None:
                found = found.where(or_(*(extra.contains({name: each}) for each in among)))
            return list(self._session.scalars(self._of_index(found).limit(limit)))
        member = members(self._told.extra)
        pairs = select(member.c.type, member.c.atom).select_from(self._told, member).distinct()
        pairs = pairs.where(member.c.key == name, member.c.type.not_in(("array", "object")))
        if among is not None:
            pairs = pairs.where(is_any_of(member, among))
        rows = self._session.execute(self._of_index(pairs).limit(limit))
        return [_CONSTANTS.get(kind, atom) for kind, atom in rows]

    def said(self, what: Any, limit: int) -> list[str]:
        """List the verdicts or decisions that clips' current labels have, at most `limit`, by code point.

        `what` is LabelRecord.verdict or LabelRecord.decision.
        """
        found = select(what).where(LabelRecord.current, what.is_not(None)).distinct()
        if self._index_id is not None:
            entries = select(EntryRecord.clip_id).where(EntryRecord.index_id == self._index_id)
            found = found.where(LabelRecord.clip_id.in_(entries))
        return sorted(self._session.scalars(found.limit(limit)))

    def _of_index(self, told: Select[Any]) -> Select[Any]:
        return told if self._index_id is None else told.where(EntryRecord.index_id == self._index_id)
