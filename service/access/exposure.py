"""Who can reach the service: this machine only, or others."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from catalog.database import Database, upgrade
from catalog.repositories.keys import ApiKeyRepository

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.datastructures import Headers

    from service.settings import ServiceSettings

PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host")
log = logging.getLogger(__name__)


class UnprotectedError(Exception):
    """The service would be open to other machines; the message says what to do."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only; of names just "localhost" is trusted to be."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_exposure(settings: ServiceSettings) -> None:
    """See that whoever can reach the service needs a key; says in the log where none is needed.

    The database is brought up to date for it.

    Raises:
        UnprotectedError: other machines reach it, and there is no key that anybody could use.
        CatalogError: the database cannot be used; says what to do.
    """
    upgrade(settings.url)
    database = Database.open(settings.url)
    try:
        with database.reading() as session:
            keys = ApiKeyRepository(session)
            ever, active = keys.any(), keys.any_active()
    finally:
        database.close()
    if not is_loopback(settings.host) and not active:
        raise UnprotectedError(
            f"The service would listen on {settings.host}, which other machines may reach, and there is no "
            f"{'API key that is not revoked' if ever else 'API key'}. Make one first, with the same --home or "
            "--database-url: motiontrace keys create NAME --scope query. Or listen on 127.0.0.1, for this machine only."
        )
    if not ever:
        log.warning(
            "No API key was ever made: every process of this machine may make every call at %s. To ask for keys: "
            "motiontrace keys create NAME --scope query", settings.host,
        )  # fmt: skip


def is_of_this_machine(headers: Headers, origins: Collection[str]) -> bool:
    """Whether a call is meant for this machine under a name of its own, and no foreign web page makes it.

    While no key is asked for, this keeps out what loopback alone does not: pages that browsers here have open (Origin
    tells of them, and Host of names that were made to point here), and proxies, which may serve other machines.
    """
    host = _name(headers.get("host", ""))
    if not _names_this_machine(host) or any(name in headers for name in PROXY_HEADERS):
        return False
    origin = headers.get("origin")
    if origin is None or origin in origins:
        return True
    scheme, _, place = origin.partition("://")
    page = _name(place)
    return scheme in ("http", "https") and (is_loopback(page) or page == host)


def _name(place: str) -> str:
    """The host of HOST or HOST:PORT, empty where there is none."""
    try:
        return urlsplit(f"//{place}").hostname or ""
    except ValueError:  # brackets that hold no address
        return ""


def _names_this_machine(host: str) -> bool:
    """Nobody can register a name without a dot, so none was made to point here."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return bool(host) and "." not in host
