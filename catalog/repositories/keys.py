"""API keys: who may call the service, and what each may do.

A key is `mt_ID_SECRET`. The secret is 256 random bits, so nobody finds it from its plain SHA-256 by guessing; a
slow hash protects passwords, which people choose, and would only cost every request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from sqlalchemy import or_, select, update

from motiontrace.catalog.records import ApiKeyRecord, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

Scope = Literal["read", "query", "admin"]
TOUCH_EVERY = timedelta(minutes=1)


class Token(NamedTuple):
    """A key as its owner holds it. `secret` is never stored and never logged."""

    key_id: str
    secret: str

    @classmethod
    def read(cls, text: str) -> Token | None:
        """Read `mt_ID_SECRET`; None where it is nothing of that form."""
        parts = text.split("_", 2)  # the secret may hold underscores
        return cls(parts[1], parts[2]) if len(parts) == 3 and parts[0] == "mt" and parts[1] and parts[2] else None

    def opens(self, key: ApiKeyRecord) -> bool:
        """Tell whether this is the token of `key`, revoked or not; takes as long for any secret."""
        return key.id == self.key_id and hmac.compare_digest(key.secret_sha256, _digest(self.secret))

    def __str__(self) -> str:
        return f"mt_{self.key_id}_{self.secret}"


class ApiKeyRepository:
    """Reads and writes API keys in the given session. Keys are revoked, never deleted."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(
        self, name: str, scopes: Iterable[str], requests_per_minute: int | None = None
    ) -> tuple[ApiKeyRecord, Token]:
        """Make a key; its token is given here and cannot be had again.

        Args:
            name: whose it is, for people: 1 to 200 characters. Several keys may have the same.
            scopes: what it may do: `Scope`s, at least one.
            requests_per_minute: at least 1; None: as many as the service's setting allows.

        Raises:
            ValueError: one of them is out of its range.
        """
        known = get_args(Scope)
        wanted = set(scopes)
        if not name.strip() or len(name) > 200:
            raise ValueError("a key's name has 1 to 200 characters")
        if not wanted or not wanted <= set(known):
            raise ValueError(f"a key has at least one scope, of {', '.join(known)}")
        if requests_per_minute is not None and requests_per_minute < 1:
            raise ValueError("a key may make 1 request a minute at least")
        token = Token(secrets.token_hex(6), secrets.token_urlsafe(32))
        key = ApiKeyRecord(
            id=token.key_id,
            name=name,
            secret_sha256=_digest(token.secret),
            scopes=[scope for scope in known if scope in wanted],
            requests_per_minute=requests_per_minute,
            created_at=now(),
        )
        self._session.add(key)
        self._session.flush()
        return key, token

    def all(self) -> list[ApiKeyRecord]:
        """Give all keys, the oldest first, revoked ones too."""
        return list(self._session.scalars(select(ApiKeyRecord).order_by(ApiKeyRecord.created_at, ApiKeyRecord.id)))

    def find(self, key_id: str) -> ApiKeyRecord | None:
        """Give the key of that id, or None."""
        return self._session.get(ApiKeyRecord, key_id)

    def any_active(self) -> bool:
        """Tell whether some key is not revoked."""
        active = select(ApiKeyRecord.id).where(ApiKeyRecord.revoked_at.is_(None))
        return self._session.scalar(active.limit(1)) is not None

    def any(self) -> bool:
        """Tell whether a key was ever made: from then on the service asks for one, even if all are revoked."""
        return self._session.scalar(select(ApiKeyRecord.id).limit(1)) is not None

    def revoke(self, key_id: str) -> ApiKeyRecord | None:
        """Revoke a key for good and give it, None where there is none of that id; the first time is kept."""
        active = update(ApiKeyRecord).where(ApiKeyRecord.id == key_id, ApiKeyRecord.revoked_at.is_(None))
        self._session.execute(active.values(revoked_at=now()).execution_options(synchronize_session=False))
        return self._session.get(ApiKeyRecord, key_id, populate_existing=True)

    def touch(self, key_id: str) -> None:
        """Note that a key was used now; within a minute of the last time nothing is written."""
        moment = now()
        due = or_(ApiKeyRecord.last_used_at.is_(None), ApiKeyRecord.last_used_at <= moment - TOUCH_EVERY)
        touched = update(ApiKeyRecord).where(ApiKeyRecord.id == key_id, due).values(last_used_at=moment)
        self._session.execute(touched.execution_options(synchronize_session=False))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
