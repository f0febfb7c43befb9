"""Making and revoking API keys in tests, as another process would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.repositories.keys import ApiKeyRepository

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings


def make_key(settings: ServiceSettings, *scopes: Any, requests_per_minute: int | None = None) -> tuple[str, str]:
    """A key's id and the header's value that brings it."""
    upgrade(settings.url)
    database = Database.open(settings.url)
    with database.writing() as session:
        key, token = ApiKeyRepository(session).create("test", scopes, requests_per_minute)
    database.close()
    return key.id, f"Bearer {token}"


def revoke_key(settings: ServiceSettings, key_id: str) -> None:
    database = Database.open(settings.url)
    with database.writing() as session:
        ApiKeyRepository(session).revoke(key_id)
    database.close()
