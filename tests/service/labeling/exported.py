"""Rankings as folders for tools, in tests."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

from motiontrace.answering.export import ExportedRow
from motiontrace.catalog.database import Database
from motiontrace.catalog.records import EntryRecord
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.formats.export import Ranking, Subject
from motiontrace.formats.registry import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastapi.testclient import TestClient

    from motiontrace.answering.rows import Row
    from motiontrace.service.settings import ServiceSettings

MOVES = {
    "ranges": [{"start": 0.0, "end": 0.5}],
    "boxes": [
        {
            "keyframes": [
                {"time": 0.0, "x": 0.2, "y": 0.2, "width": 0.25, "height": 0.5, "visible": True},
                {"time": 0.5, "x": 0.5, "y": 0.2, "width": 0.25, "height": 0.5, "visible": False},
            ]
        }
    ],
}


def mark_motion(settings: ServiceSettings, clip_id: str, region: dict[str, Any] = MOVES) -> dict[str, Any]:
    """Store when and where a clip moves in the index "tiny"; gives it."""
    database = Database.open(settings.url)
    with database.writing() as session:
        entry = session.get(EntryRecord, (IndexRepository(session).get("tiny").id, clip_id))
        assert entry is not None
        entry.motion_region = region
    database.close()
    return region


def folder(client: TestClient, query_id: str, format: str, **parameters: Any) -> dict[str, bytes]:
    """The files of a query's export, by name."""
    response = client.get(f"/v1/queries/{query_id}/export", params={"format": format, **parameters})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as zipped:
        assert zipped.testzip() is None
        return {name: zipped.read(name) for name in zipped.namelist()}


def zipped(tool: str, subject: Subject, rows: Iterable[Row], settings: ServiceSettings) -> Iterator[bytes]:
    """A tool's folder of these clips, as the pieces of a zip file. Rows are taken as pieces are."""
    return FORMATS[tool].write(Ranking(subject, ([ExportedRow(row, settings)] for row in rows), None)).pieces
