"""Indexes: a name, the recipe its gradients were computed by, and how many clips came to what."""

import re
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from motiontrace.catalog.errors import CatalogError, IndexExistsError, UnknownIndexError
from motiontrace.catalog.records import EntryRecord, IndexRecord, Outcome, now

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class IndexOverview:
    """An index and how many of its clips came to each outcome."""

    index: IndexRecord
    counts: dict[Outcome, int]  # every outcome, 0 included


def check_name(name: str) -> None:
    """See that an index can have this name.

    Raises:
        CatalogError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise CatalogError(
            f"The index name {name!r} cannot name a directory: use 1 to 64 letters, digits, '.', '_' "
            "or '-', beginning with a letter or digit."
        )


_ALL = select(IndexRecord).order_by(IndexRecord.name)  # built once: every question asks it


class IndexRepository:
    """Reads and writes indexes in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, name: str, *, recipe: str, recipe_digest: str, model: str) -> IndexRecord:
        """Store a new index.

        Args:
            name: 1 to 64 letters, digits, '.', '_' or '-', first a letter or digit (it names a directory).
            recipe: the recipe as JSON.
            recipe_digest: its digest, hex.
            model: where the model is loaded from, a directory or hub id.

        Raises:
            IndexExistsError: the name is taken.
            CatalogError: the name cannot be used.
        """
        check_name(name)
        moment = now()
        index = IndexRecord(
            name=name,
            recipe=recipe,
            recipe_digest=recipe_digest,
            model=model,
            created_at=moment,
            updated_at=moment,
        )
        try:
            with self._session.begin_nested():
                self._session.add(index)
        except IntegrityError:
            raise IndexExistsError(f"An index named {name!r} exists already: choose another name.") from None
        return index

    def find(self, name: str) -> IndexRecord | None:
        """Give the index of that name, or None."""
        return self._session.scalar(select(IndexRecord).where(IndexRecord.name == name))

    def by_id(self, index_id: int) -> IndexRecord | None:
        """Give the index of that row, or None once it has been deleted."""
        return self._session.get(IndexRecord, index_id)

    def get(self, name: str) -> IndexRecord:
        """Give the index of that name.

        Raises:
            UnknownIndexError: there is none; says which there are.
        """
        index = self.find(name)
        if index is None:
            names = ", ".join(known.name for known in self.all())
            known = f"there are {names}" if names else "there is none yet, make one with motiontrace index"
            raise UnknownIndexError(f"There is no index named {name!r}: {known}.")
        return index

    def all(self) -> list[IndexRecord]:
        """List all indexes by name."""
        return list(self._session.scalars(_ALL))

    def overview(self) -> list[IndexOverview]:
        """List all indexes by name, with their counts: reads every entry, where `all` reads none."""
        indexes = self.all()
        counts: dict[int, dict[Outcome, int]] = {
            index.id: {"indexed": 0, "no_motion": 0, "failed": 0} for index in indexes
        }
        grouped = select(EntryRecord.index_id, EntryRecord.outcome, func.count()).group_by(
            EntryRecord.index_id, EntryRecord.outcome
        )
        for index_id, outcome, count in self._session.execute(grouped):
            counts[index_id][outcome] = count
        return [IndexOverview(index, counts[index.id]) for index in indexes]

    def delete(self, name: str) -> None:
        """Delete the index with its entries and queries; clips and vector files stay.

        Raises:
            UnknownIndexError: there is no index of that name.
        """
        self._session.execute(delete(IndexRecord).where(IndexRecord.id == self.get(name).id))
