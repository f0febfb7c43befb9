"""Which conditions of a filter no clip meets, and what was perhaps meant: why an answer is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from motiontrace.answering.errors import QuestionError
from motiontrace.catalog.records import LabelRecord
from motiontrace.catalog.repositories.columns import ColumnRepository
from motiontrace.catalog.spelling import MOST, hint, listed, shown
from motiontrace.documents.filters import meanings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from motiontrace.catalog.records import IndexRecord
    from motiontrace.documents.filters import Filter, Scalar


def check_passable(session: Session, index: IndexRecord, filter: Filter | None) -> None:
    """See that no condition of a filter leaves out all clips by itself.

    Raises:
        QuestionError: `filter_passes_none`: one does. No clip has its column, or any of its values.
    """
    said = [each.sentence for each in _unmet(session, index, filter) if each.leaves_none]
    if said:
        raise QuestionError("filter_passes_none", " ".join([*said, "Nothing would be ranked."]), field="filter")


def unmet(session: Session, index: IndexRecord | None, filter: Filter | None) -> list[str]:
    """A sentence on each column, value, verdict and decision of a filter that no clip has.

    `index`: whose clips; None: those of any.
    """
    return [each.sentence for each in _unmet(session, index, filter)]


class _Unmet(NamedTuple):
    """The part of a condition that no clip meets."""

    sentence: str
    leaves_none: bool  # the part is the whole condition


def _unmet(session: Session, index: IndexRecord | None, filter: Filter | None) -> list[_Unmet]:
    if filter is None:
        return []
    columns = ColumnRepository(session, None if index is None else index.id)
    found = []
    for name, asked in filter.metadata.items():
        if not columns.has(name):
            end = hint([name], columns.names(MOST))
            found.append(_Unmet(f"No clip{_of(index)} has the column {shown(name)}{end}", True))
            continue
        missing = _missing(columns, name, asked)
        if missing:
            end = hint(missing, columns.values(name, MOST))
            sentence = f"No clip{_of(index)} has {listed(missing, 'or')} in the column {shown(name)}{end}"
            found.append(_Unmet(sentence, len(missing) == len(asked)))
    labels: tuple[tuple[str, Any, Sequence[Scalar], bool], ...] = (
        ("verdict", LabelRecord.verdict, filter.verdict, False),
        ("verdict", LabelRecord.verdict, filter.without_verdict, True),
        ("decision", LabelRecord.decision, filter.decision, False),
    )
    for what, column, said, without in labels:
        known = columns.said(column, MOST) if said else []
        unsaid = [value for value in said if value not in known]
        if unsaid:
            effect = ", so none is left out for it" if without else ""
            sentence = f"No clip{_of(index)} has the {what} {listed(unsaid, 'or')}{effect}{hint(unsaid, known)}"
            found.append(_Unmet(sentence, len(unsaid) == len(said) and not without))
    return found


def _missing(columns: ColumnRepository, name: str, asked: Sequence[Scalar]) -> list[Scalar]:
    """The values that no clip has in a column."""
    among = [meaning for value in asked for meaning in meanings(value)]
    # A number may be there as 1 and as 1.0.
    there = [_key(value) for value in columns.values(name, 2 * len(among), among)]
    return [value for value in asked if not any(_key(meaning) in there for meaning in meanings(value))]


def _key(value: Scalar) -> tuple[str, Scalar]:
    """What is the same for values that filters take for one: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", float(value)
    return type(value).__name__, value


def _of(index: IndexRecord | None) -> str:
    return "" if index is None else f" of the index {index.name!r}"
