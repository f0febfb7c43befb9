"""What people say in Label Studio, as it gives it, and what became of it in the catalog."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import LabelRecord, LabelStudioChangeRecord, LabelStudioProjectRecord
from motiontrace.catalog.repositories import LabelRepository, LabelStudioRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings
    from tests.service.labeling.standin import StandIn

KIM, LEE = 1, 2  # numbers of users
MORNING = datetime.fromisoformat("2026-03-01T08:00:00+00:00")
Json = dict[str, Any]


def verdict(word: str, decision: str | None = None, note: str | None = None) -> list[Json]:
    """The result of an annotation."""
    answers = [
        ("verdict", "video", "choices", [word]),
        ("action", "video", "choices", [decision] if decision else None),
    ]
    answers.append(("note", "caption", "text", [note] if note else None))
    return [
        {"from_name": name, "to_name": shown, "type": kind, "value": {kind: value}}
        for name, shown, kind, value in answers
        if value is not None
    ]


def annotation(number: int, result: Any, minutes: float, **more: Any) -> Json:
    """An annotation that was last changed so many minutes into the morning."""
    moment = (MORNING + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    said = {"result": result, "completed_by": KIM, "was_cancelled": False, "ground_truth": False}
    return {"id": number, "created_at": moment, "updated_at": moment, **said, **more}


def task(number: int, clip: str | None, *annotations: Json, project: int = 7) -> Json:
    data = {"fps": 12} if clip is None else {"fps": 12, "clip_id": clip}
    return {"id": number, "project": project, "data": data, "annotations": list(annotations)}


@contextmanager
def catalog_of(settings: ServiceSettings) -> Iterator[Database]:
    database = Database.open(settings.url)
    yield database
    database.close()


def add_project(database: Database, clips: dict[int, str], *, server: str, number: int = 7) -> LabelStudioProjectRecord:
    """A project whose tasks show these clips."""
    with database.writing() as session:
        projects = LabelStudioRepository(session)
        project = projects.add_project(server, number, "review")
        projects.put_tasks(project.id, clips)
    return project


def add_to(studio: StandIn, project: LabelStudioProjectRecord, *tasks: Json, **fields: Any) -> None:
    """Have the project, with these tasks, on the server."""
    studio.projects[project.project] = {"id": project.project, "title": project.title, **fields}
    studio.tasks.update({each["id"]: each for each in tasks})


def note(database: Database, project: LabelStudioProjectRecord, *tasks: int) -> None:
    with database.writing() as session:
        LabelStudioRepository(session).note(project.id, tasks)


def current(database: Database, clip: str) -> LabelRecord | None:
    with database.reading() as session:
        return LabelRepository(session).current([clip]).get(clip)


def said(database: Database, clip: str) -> str | None:
    """The verdict that the clip has."""
    label = current(database, clip)
    return None if label is None else label.verdict


def history(database: Database, clip: str) -> list[tuple[str | None, str]]:
    """Verdicts and notes, the newest first."""
    with database.reading() as session:
        return [(label.verdict, label.note) for label in LabelRepository(session).history(clip)]


def changes(database: Database) -> dict[int, int]:
    """Tasks that wait to be read again, and how often reading them has failed."""
    with database.reading() as session:
        return {each.task: each.attempts for each in session.scalars(select(LabelStudioChangeRecord))}
