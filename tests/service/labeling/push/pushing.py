"""Pushing in tests, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import LabelStudioRepository
from tests.service.labeling.reviewed import ASKED, NAME

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.labeling.standin import StandIn

PROJECTS = "/v1/labeling/label-studio/projects"
BEST, WORST = "up blue", "down blue"  # of the ranking


def ask(client: TestClient, clip: str = ASKED, **more: Any) -> str:
    asked = client.post("/v1/queries", json={"clip": clip, "index": NAME, "k": 1} | more)
    assert asked.status_code == 201, asked.text
    identifier: str = asked.json()["id"]
    return identifier


def push(client: TestClient, *queries: str, **more: Any) -> dict[str, Any]:
    response = client.post(PROJECTS, json={"queries": queries, **more})
    assert response.status_code == 200, response.text
    pushed: dict[str, Any] = response.json()
    return pushed


def clips_in(studio: StandIn, project: int) -> list[str]:
    return [task["data"]["clip_id"] for task in studio.of(project)]


def verdicts_in(studio: StandIn, project: int) -> dict[str, str | None]:
    """What is suggested, by clip."""
    suggested: dict[str, str | None] = {}
    for task in studio.of(project):
        items = [item for each in task["predictions"] for item in each["result"] if item["from_name"] == "verdict"]
        suggested[task["data"]["clip_id"]] = items[0]["value"]["choices"][0] if items else None
    return suggested


def recorded(settings: ServiceSettings, studio: StandIn, project: int) -> dict[int, str]:
    """What the catalog knows of a project's tasks: the clip of each."""
    database = Database.open(settings.url)
    with database.reading() as session:
        repository = LabelStudioRepository(session)
        known = repository.project(studio.url, project)
        tasks = {} if known is None else {task.task: task.clip_id for task in repository.tasks(known.id)}
    database.close()
    return tasks
