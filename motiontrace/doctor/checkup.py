"""All checks in the order in which one depends on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.doctor import installation
from motiontrace.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def examine(flags: Mapping[str, Any], options: Iterable[Any], *, full: bool = False) -> Iterator[Finding]:
    """Look at everything; each finding is given as soon as it is known.

    Args:
        flags: settings given on the command line.
        options: click's parameters of all verbs: with the settings, what a file or variable may name.
        full: also read every vector and every byte of the models, which takes a while.
    """
    yield installation.version()
    yield from installation.given_settings(options)
    settings = installation.valid_settings(flags)
    if isinstance(settings, Finding):
        yield settings
        return
    if (missing := installation.missing_packages()) is not None:
        yield missing
        return
    from motiontrace.doctor import computing, indexes, storage  # they import what is there now

    yield from computing.device(settings)
    yield computing.search()
    yield from computing.decoder(settings)
    yield from storage.home(settings)
    database = storage.opened(settings)
    if isinstance(database, Finding):
        yield database
        return
    try:
        yield from storage.contents(settings, database)
        yield from indexes.each(settings, database, full=full)
    finally:
        database.close()
