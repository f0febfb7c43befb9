"""A ranking as a file, straight from the catalog of this machine: no service."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.database import Database
from motiontrace.service.queries.export import table_pieces
from motiontrace.service.queries.results import Reading, folder_pieces

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.service.labeling.bundle import Tool
    from motiontrace.service.queries.export import Table
    from motiontrace.service.settings import ServiceSettings


@dataclass(frozen=True)
class _Catalog:
    """A catalog on this machine, whose reader may see every path."""

    settings: ServiceSettings
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
    format: Table | Tool,
    end: Literal["top", "bottom", "both"] = "top",
    limit: int | None = None,
) -> None:
    """Write the ranking of a query that is kept to a new file: what `Client.export` would fetch, but for links.

    Raises ProblemError where there is no such query, where it is not done, or where so many videos are too many, and
    CatalogError and OSError: what cannot be read or written.
    """
    with closing(Database.open(settings.url, reading=True)) as database:
        reading = Reading.open(_Catalog(settings, database, Searchers(settings.index_directory)), query_id, None, end)
        if format == "fiftyone" or format == "cvat":
            pieces = folder_pieces(format, reading, end == "both", limit)
        else:
            portions = reading.rows(limit, both=end == "both")
            pieces = table_pieces(format, next(portions), portions)
        with path.open("xb") as file:
            file.writelines(pieces)
