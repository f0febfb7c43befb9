"""Which clips are meant: conditions on their metadata and their current label, as SQL.

A metadata value is compared as JSON: 1, "1" and true are three values, while 1 and 1.0 are the same number, as in
JSON itself. null is a value too: a clip without the column has no value there and never matches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import String, and_, column, func, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import NullType

from motiontrace.catalog.records import ClipRecord, EntryRecord, LabelRecord
from motiontrace.catalog.repositories.storable import check_storable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute, Session

Scalar: TypeAlias = str | int | float | bool | None
MAX_INTEGER = 2**63 - 1  # what either database compares exactly


@dataclass(frozen=True, kw_only=True)
class ClipFilter:
    """Conditions that must all hold; within one, any of its values will do. One without values is no condition.

    `without_verdict` and `without_decision` keep the clips that have no label.

    Raises:
        ValueError: a value cannot be in the catalog, see `check_storable`, or is an integer of more than 64 bits.
    """

    metadata: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)  # by column
    verdict: tuple[str, ...] = ()
    without_verdict: tuple[str, ...] = ()
    decision: tuple[str, ...] = ()
    without_decision: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_storable("The filter", dict(self.metadata))
        check_storable("The filter", (self.verdict, self.without_verdict, self.decision, self.without_decision))
        for name, values in self.metadata.items():
            for value in values:
                if isinstance(value, int) and abs(value) > MAX_INTEGER:
                    raise ValueError(f"The filter's value for {name!r} is an integer of more than 64 bits.")


def conditions(
    session: Session, wanted: ClipFilter, told: type[ClipRecord | EntryRecord]
) -> Iterator[ColumnElement[bool]]:
    """Give the filter's conditions on a statement that selects from `told`: clips, or the entries of an index."""
    holds = _contains if session.get_bind().dialect.name == "postgresql" else _has_member
    for name, values in wanted.metadata.items():
        if values:
            yield holds(told.extra, name, values)
    yield from _label_conditions(wanted, id_of(told))


def id_of(told: type[ClipRecord | EntryRecord]) -> InstrumentedAttribute[str]:
    """The column of clips' ids."""
    return told.id if issubclass(told, ClipRecord) else told.clip_id


def _label_conditions(wanted: ClipFilter, clip_id: InstrumentedAttribute[str]) -> Iterator[ColumnElement[bool]]:
    """Give the conditions on the current label of the clip that `clip_id` names."""
    for said, values, without in (
        (LabelRecord.verdict, wanted.verdict, wanted.without_verdict),
        (LabelRecord.decision, wanted.decision, wanted.without_decision),
    ):
        if values:
            yield clip_id.in_(select(LabelRecord.clip_id).where(LabelRecord.current, said.in_(values)))
        if without:
            labels = select(LabelRecord.id).where(LabelRecord.clip_id == clip_id, said.in_(without))
            # Not NOT IN, which PostgreSQL compares one by one; not `current` alone, by which SQLite would look up all.
            yield ~labels.where(LabelRecord.current.is_not(False)).exists()


def _contains(extra: Any, name: str, values: Sequence[Scalar]) -> ColumnElement[bool]:
    """PostgreSQL: containment, which an index on the metadata can answer."""
    return or_(*(type_coerce(extra, JSONB).contains({name: value}) for value in values))


def _has_member(extra: Any, name: str, values: Sequence[Scalar]) -> ColumnElement[bool]:
    """SQLite: the member of that name, found by comparison; a path would have to quote the name."""
    member = members(extra)
    return select(member.c.key).where(member.c.key == name, is_any_of(member, values)).exists()


def members(extra: Any) -> Any:
    """SQLite: the members of a JSON object as a table of key, type and atom, which is none of a list or an object."""
    return func.json_each(extra).table_valued(
        column("key", String), column("type", String), column("atom", NullType), name="member", joins_implicitly=True
    )


def is_any_of(member: Any, values: Sequence[Scalar]) -> ColumnElement[bool]:
    """SQLite: whether a member is one of these values."""
    kind, atom = member.c.type, member.c.atom
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    others = [_JSON_TYPES[value] for value in values if value is None or isinstance(value, bool)]
    same = []
    if texts:
        same.append(and_(kind == "text", atom.in_(texts)))
    if numbers:
        same.append(and_(kind.in_(("integer", "real")), atom.in_(numbers)))
    if others:
        same.append(kind.in_(others))
    return or_(*same)


_JSON_TYPES = {None: "null", True: "true", False: "false"}
