"""Home, the database, and what is in it besides indexes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.repositories import ClipRepository, QueryRepository
from motiontrace.catalog.repositories.keys import ApiKeyRepository
from motiontrace.catalog.sqlite import is_read_only
from motiontrace.doctor.finding import Finding, fail, ok, warn
from motiontrace.service.access.exposure import is_loopback
from motiontrace.service.observability.queue import stalled
from motiontrace.service.shortage import disk_full

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings

SAMPLE = 100


def home(settings: ServiceSettings) -> Iterator[Finding]:
    """Whether home can be written, and has room."""
    place = settings.home
    if not place.exists():
        yield warn("home", f"{place} does not exist yet", "The first `motiontrace index` or `serve` makes it.")
        return
    # Only what is ours: a volume has a lost+found, which is root's.
    ours = (
        place,
        settings.index_directory,
        settings.basis_directory,
        settings.calibration_directory,
        settings.upload_directory,
        settings.thumbnail_directory,
    )
    missing = [path for path in ours if path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK)]
    if is_read_only(place):
        todo = "Enough for `motiontrace query`; whatever writes needs --home elsewhere."
        yield warn("home", f"the file system of {place} is read-only", todo)
    elif missing:
        names = ", ".join(map(str, missing))
        yield fail("home", f"this user cannot read and write {names}", f"chown -R {os.getuid()} {place}")
    else:
        yield ok("home", str(place))
    if (full := disk_full(settings)) is not None:
        yield fail("disk", full)
    else:
        usage = shutil.disk_usage(place)
        yield ok("disk", f"{usage.free / 2**30:,.1f} of {usage.total / 2**30:,.1f} GiB free")


def opened(settings: ServiceSettings) -> Database | Finding:
    """The database; a finding where there is none to look at."""
    if settings.database_url is None and not (settings.home / "catalog.db").exists():
        return warn("database", "there is none yet", "The first `motiontrace index` or `serve` makes it.")
    try:
        return Database.open(settings.url, reading=True)
    except CatalogError as error:
        return fail("database", str(error))


def contents(settings: ServiceSettings, database: Database) -> Iterator[Finding]:
    """The database's answers: schema, keys, queue, and whether clips are where it says."""
    yield ok("database", f"{database.engine.dialect.name}, schema current")
    try:
        with database.reading() as session:
            keys = ApiKeyRepository(session)
            ever, active = keys.any(), keys.any_active()
            queue = QueryRepository(session).queue()
    except CatalogError as error:
        yield fail("database", str(error).splitlines()[0], "See that it runs and that nobody changed its tables.")
        return
    if active:
        yield ok("API keys", "there are keys: callers need one")
    elif ever and is_loopback(settings.host):
        advice = "`motiontrace keys create NAME --scope query`."
        yield warn("API keys", "all are revoked: callers need one, and nobody has any", advice)
    elif is_loopback(settings.host):
        yield ok("API keys", f"none; {settings.host} is reached from this machine only")
    else:
        advice = "`motiontrace keys create NAME --scope query`, or listen on 127.0.0.1."
        yield fail("API keys", f"none, and {settings.host} is reached by other machines: serve will refuse", advice)
    if (reason := stalled(queue)) is not None:
        yield fail("queue", reason)
    else:
        yield ok("queue", f"{queue.queued:,} waiting, {queue.running:,} being worked on")
    yield _clips(database)


def _clips(database: Database) -> Finding:
    """Whether a sample of the clips' files is where the catalog says."""
    with database.reading() as session:
        paths = ClipRepository(session).sample_paths(SAMPLE)
    gone = [path for path in paths if not Path(path).is_file()]
    if not paths:
        return ok("clips", "none yet")
    if gone:
        return warn(
            "clips",
            f"{len(gone)} of {len(paths)} looked at are not where the catalog says, {gone[0]} for one",
            "Mount their volume, or index the manifest again where they are now: nothing is computed anew. Without the "
            "files queries are answered, but clips cannot be shown.",
        )
    return ok("clips", f"all {len(paths)} looked at are where the catalog says")
