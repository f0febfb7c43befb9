"""A ranking as a file, straight from the catalog of this machine: no service."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from motiontrace.answering.reading import Reading
from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.database import Database
from motiontrace.formats.registry import FORMATS
from motiontrace.service.queries.export import exported

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.service.settings import ServiceSettings


@dataclass(frozen=True)
class _Catalog:
    """A catalog on this machine, whose reader may see every path."""

    database: Database
    searchers: Searchers

    def shown(self, path: str) -> str | None:
        """The path itself."""
        return path


def export_ranking(
    settings: ServiceSettings,
    query_id: str,
    path: Path,
    *,
    format: str,
    end: Literal["top", "bottom", "both"] = "top",
    limit: int | None = None,
) -> None:
    """Write the ranking of a query that is kept to a new file: what `Client.export` would fetch, but for links.

    `format` is a name of the registry of formats.

    Raises:
        QuestionError: there is no such query, or it is not done.
        ProblemError: so many videos are too many.
        CatalogError, OSError: what cannot be read or written.
    """
    with closing(Database.open(settings.url, reading=True)) as database:
        reading = Reading.open(_Catalog(database, Searchers(settings.index_directory)), query_id, None, end)
        content = exported(FORMATS[format], reading, settings, both=end == "both", limit=limit)
        with path.open("xb") as file:
            file.writelines(content.pieces)
