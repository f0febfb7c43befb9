"""Keys that the service makes for itself, once for all its processes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import select

from motiontrace.catalog.records import SecretRecord, now
from motiontrace.catalog.repositories.statements import insert

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SECRET_BYTES = 32


class SecretRepository:
    """Reads and makes the service's own secrets in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_or_create(self, name: str) -> bytes:
        """Give the secret of that name: 32 random bytes, the same for all who ask, made for the first of them.

        Needs a writing session. Who asks first while another process does waits for that one's end.

        Args:
            name: what it is for, at most 64 characters: "media links", ...
        """
        query = select(SecretRecord.value).where(SecretRecord.name == name)
        if (found := self._session.scalar(query)) is not None:
            return found
        made = insert(self._session, SecretRecord).values(
            name=name, value=secrets.token_bytes(SECRET_BYTES), created_at=now()
        )
        self._session.execute(made.on_conflict_do_nothing(index_elements=["name"]))
        found = self._session.scalar(query)  # another process may have been first
        assert found is not None
        return found
