"""Who can reach the service: this machine only, or others."""

from __future__ import annotations

import logging
import re
import socket
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.repositories.keys import ApiKeyRepository

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.datastructures import Headers

    from motiontrace.service.settings import ServiceSettings

LOCAL = frozenset({"localhost"})
# What browsers say of calls: of the page's own host, of another port or name of its site, and typed in by the user.
OWN_SITES = frozenset({"same-origin", "same-site", "none"})
PLACE = re.compile(
    r"(?:\[(?P<address>[0-9a-fA-F:.]{2,45})\]|(?P<name>[\w.-]{1,254}))(?::(?P<port>[0-9]{0,5}))?", re.ASCII
)
MAX_PORT = 65535
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
            "motiontrace keys create NAME --scope query",
            settings.host,
        )


def is_of_this_machine(headers: Headers, origins: Collection[str]) -> bool:
    """Whether a call is meant for this machine under a name of its own, and no foreign web page makes it.

    While no key is asked for, this keeps out what loopback alone does not: pages that browsers here have open (Origin
    and Sec-Fetch-Site tell of them, and Host of names that were made to point here), and proxies, which may serve other
    machines. `origins` are those of pages that may call.
    """
    hosts = headers.getlist("host")
    host = _name(hosts[0]) if len(hosts) == 1 else ""
    if not _names_this_machine(host) or any(name in headers for name in PROXY_HEADERS):
        return False
    origin = headers.get("origin")
    if origin is not None and origin in origins:
        return True
    if any(site.strip().lower() not in OWN_SITES for site in headers.getlist("sec-fetch-site")):
        return False
    if origin is None:
        return True
    scheme, _, place = origin.partition("://")
    page = _name(place)
    return scheme in ("http", "https") and bool(page) and (page in LOCAL or _is_loopback_address(page) or page == host)


@cache
def own_names() -> frozenset[str]:
    """What this machine calls itself, in lower case; loopback has no name that others could give."""
    name = socket.gethostname().lower().rstrip(".")
    return frozenset({name, name.partition(".")[0]}) - {""}


def _name(place: str) -> str:
    """The host of HOST or HOST:PORT as it is compared; empty where it is none, or the port is none."""
    found = PLACE.fullmatch(place)
    if found is None or int(found["port"] or 0) > MAX_PORT:
        return ""
    return (found["address"] or found["name"]).lower().removesuffix(".")


def _names_this_machine(host: str) -> bool:
    """A name of DNS was perhaps made to point here: no other name than its own is this machine's."""
    return host in LOCAL or host in own_names() or _is_loopback_address(host)


def _is_loopback_address(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
