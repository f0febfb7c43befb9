"""Statements that SQLite and PostgreSQL share in meaning but not in spelling, and their limits."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from motiontrace.catalog.records import Record

T = TypeVar("T")
_PORTION = 5_000  # bound parameters in one statement: below the limit of either database


def upsert(session: Session, record: type[Record], rows: list[dict[str, Any]], *, keep: Iterable[str] = ()) -> None:
    """Insert rows; where the primary key exists, replace every column except those in `keep`."""
    if not rows:
        return
    statement = insert(session, record)
    key = [column.name for column in record.__table__.primary_key]
    fixed = {*key, *keep}
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in fixed}
    session.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), rows)


def insert(session: Session, record: type[Record]) -> postgresql.Insert | sqlite.Insert:
    """Begin an INSERT that can say what happens on a conflict, in the spelling of the session's database."""
    return (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(record)


def portions(values: Iterable[T]) -> Iterator[list[T]]:
    """Cut values into lists short enough for one IN (...)."""
    iterator = iter(values)
    while portion := list(islice(iterator, _PORTION)):
        yield portion
