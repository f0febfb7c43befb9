"""Whose call it is: the catalog's keys, held in memory for seconds, so that a call costs no look into the database."""

from __future__ import annotations

import base64
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.records import now
from motiontrace.catalog.repositories.keys import TOUCH_EVERY, ApiKeyRepository, Token
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from datetime import datetime

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import ApiKeyRecord

KNOWN_SECONDS = 5.0  # so long a key that is revoked still works
UNKNOWN_SECONDS = 0.5  # so long a new key may not work yet; also bounds what made-up keys cost the database
log = logging.getLogger(__name__)


class Keyring:
    """The keys of a catalog; for one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[str, ApiKeyRecord] = {}
        self._read_at = float("-inf")
        self._reading = anyio.Lock()
        self._used: dict[str, datetime] = {}
        self._notes = ThreadPoolExecutor(1, thread_name_prefix="api-keys")

    async def empty(self) -> bool:
        """Whether no key was ever made."""
        return not await self._within(KNOWN_SECONDS)

    async def owner(self, authorization: str | None, *, as_password: bool = False) -> ApiKeyRecord:
        """The key that an Authorization header holds.

        Args:
            authorization: the header's value: Bearer and the key.
            as_password: whether it may be Basic as well, with the key as password of any user.

        Raises:
            ProblemError: 401, there is none in it, or one that is not known or revoked.
        """
        scheme, _, text = (authorization or "").strip().partition(" ")
        if as_password and scheme.lower() == "basic":
            scheme, text = "bearer", _password(text.strip())
        if scheme.lower() != "bearer" or not text.strip():
            raise unauthorised(
                "key_missing",
                "This service answers only calls that bring an API key.",
                f"Send the header 'Authorization: Bearer mt_...'{', or the key as password' if as_password else ''}; "
                "whoever runs the service makes keys, of the scope 'query' or another.",
            )
        token = Token.read(text.strip())
        key = None if token is None else (await self._within(KNOWN_SECONDS)).get(token.key_id)
        if token is not None and key is None:
            key = (await self._within(UNKNOWN_SECONDS)).get(token.key_id)
        if token is None or key is None or key.revoked_at is not None or not token.opens(key):
            raise unauthorised(
                "key_unknown",
                "This API key is not known here, or was revoked.",
                "See that the key was copied as a whole; whoever runs the service knows which keys there are.",
                error="invalid_token",
            )
        return key

    def note_use(self, key: ApiKeyRecord) -> None:
        """Have it kept when the key was last used, to the minute; the call does not wait for that."""
        last = self._used.get(key.id, key.last_used_at)
        if last is None or now() - last >= TOUCH_EVERY:
            self._used[key.id] = now()
            self._notes.submit(self._touch, key.id)

    async def _within(self, seconds: float) -> dict[str, ApiKeyRecord]:
        """The keys as they were `seconds` ago, or later."""
        if time.monotonic() - self._read_at > seconds:
            async with self._reading:
                if time.monotonic() - self._read_at > seconds:
                    started = time.monotonic()
                    self._keys = await run_sync(self._read)
                    self._read_at = started
        return self._keys

    def _read(self) -> dict[str, ApiKeyRecord]:
        with self._database.reading() as session:
            return {key.id: key for key in ApiKeyRepository(session).all()}

    def _touch(self, key_id: str) -> None:
        try:
            with self._database.writing() as session:
                ApiKeyRepository(session).touch(key_id)
        except DatabaseUnavailableError as error:
            log.debug("that the key %s was used could not be noted: %s", key_id, error)


def unauthorised(code: str, detail: str, todo: str, *, error: str | None = None) -> ProblemError:
    """401, with the challenge that RFC 6750 asks for."""
    challenge = "Bearer" if error is None else f'Bearer error="{error}"'
    return ProblemError(HTTPStatus.UNAUTHORIZED, code, detail, todo, headers={"www-authenticate": challenge})


def _password(credentials: str) -> str:
    """The password of Basic credentials (RFC 7617), empty where they cannot be read."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
