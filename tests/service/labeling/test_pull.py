"""Pulling a project: right whatever webhooks came, and whoever made its tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from motiontrace.catalog.repositories import LabelRepository, LabelStudioRepository
from motiontrace.documents.label_studio import PulledProject
from motiontrace.service.app import create_app
from motiontrace.service.labeling.label_studio import connection, pull
from motiontrace.service.labeling.label_studio.connection import LabelStudio
from motiontrace.service.labeling.label_studio.people import People
from motiontrace.service.labeling.label_studio.reading import read_task
from motiontrace.service.labeling.label_studio.reconcile import reconcile
from tests.service.asking import assert_problem
from tests.service.labeling.projects import PROJECT
from tests.service.labeling.reviews import (
    LEE,
    add_project,
    add_to,
    annotation,
    changes,
    history,
    note,
    said,
    task,
    verdict,
)
from tests.service.labeling.standin import TOKEN, RefusalError, StandIn
from tests.service.serving import serving

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelStudioProjectRecord
    from motiontrace.service.settings import ServiceSettings

BOTH_DATABASES = True
CLIPS = {1: "left-red", 2: "left blue", 3: "up-red", 4: "up blue", 5: "down-red"}
CARTOON = annotation(31, verdict("cartoon"), 5)
NOTHING = {"labelled": 0, "changed": 0, "withdrawn": 0, "unchanged": 0, "unknown": 0, "left_out": []}


@pytest.fixture
def settings(settings: ServiceSettings, studio: StandIn) -> ServiceSettings:
    return settings.model_copy(update={"label_studio_url": studio.url, "label_studio_token": SecretStr(TOKEN)})


@pytest.fixture
def project(database: Database, studio: StandIn) -> LabelStudioProjectRecord:
    """Its tasks show five clips; nothing is said of them."""
    project = add_project(database, CLIPS, server=studio.url)
    add_to(studio, project, *(task(number, clip) for number, clip in CLIPS.items()))
    return project


@pytest.fixture(params=[100, 2], ids=["one page", "pages"])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many tasks are read at once."""
    monkeypatch.setattr(connection, "ANNOTATED_PAGE", request.param)
    monkeypatch.setattr(pull, "ANNOTATED_PAGE", request.param)


def pulled(client: TestClient, number: int = 7) -> dict[str, Any]:
    answer = client.post(f"/v1/labeling/label-studio/projects/{number}/pull")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_is_said_is_taken_over_once(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord, pages: None
) -> None:
    lee = annotation(33, verdict("static"), 6, completed_by=LEE)
    add_to(studio, project, task(1, CLIPS[1], CARTOON), task(3, CLIPS[3], annotation(32, verdict("cartoon"), 5), lee))
    skipped = annotation(34, [], 5, was_cancelled=True)
    add_to(studio, project, task(4, CLIPS[4], skipped))
    assert pulled(client) == NOTHING | {"tasks": 5, "labelled": 2, "unchanged": 3}
    assert {clip: said(database, clip) for clip in CLIPS.values()} == dict.fromkeys(CLIPS.values()) | {
        "left-red": "cartoon",
        "up-red": "static",
    }
    assert pulled(client) == NOTHING | {"tasks": 5, "unchanged": 5}
    assert changes(database) == {}


def test_what_was_changed_skipped_and_deleted_is_followed(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord, pages: None
) -> None:
    made = {number: annotation(30 + number, verdict("cartoon"), 5) for number in CLIPS}
    add_to(studio, project, *(task(number, clip, made[number]) for number, clip in CLIPS.items()))
    pulled(client)
    add_to(
        studio,
        project,
        task(1, CLIPS[1], annotation(31, verdict("static"), 7)),
        task(2, CLIPS[2], made[2] | {"was_cancelled": True, "updated_at": "2026-03-01T09:00:00Z"}),
        task(3, CLIPS[3]),
    )
    del studio.tasks[5]
    with database.writing() as session:
        LabelRepository(session).put(CLIPS[3], verdict="realistic", decision=None, tool="api")
    assert pulled(client) == NOTHING | {"tasks": 4, "changed": 1, "withdrawn": 1, "unchanged": 2}
    assert [said(database, CLIPS[number]) for number in CLIPS] == ["static", None, "realistic", "cartoon", "cartoon"]
    with database.reading() as session:
        known = [each.task for each in LabelStudioRepository(session).tasks(project.id)]
    assert known == [1, 2, 3, 4]  # the deleted one is forgotten, and its label stays
    assert pulled(client) == NOTHING | {"tasks": 4, "unchanged": 4}


def test_a_project_that_was_never_pushed_to_is_taken_up(
    client: TestClient, database: Database, studio: StandIn, pages: None
) -> None:
    studio.projects[8] = PROJECT | {"id": 8, "title": "made by hand"}
    tasks = [
        task(1, CLIPS[1], CARTOON, project=8),
        task(2, CLIPS[2], project=8),
        task(3, None, CARTOON, project=8),
        task(4, "nobody", CARTOON, project=8),
    ]
    studio.tasks.update({each["id"]: each for each in tasks})
    assert pulled(client, 8) == NOTHING | {"tasks": 4, "labelled": 1, "unchanged": 1, "unknown": 2}
    assert said(database, CLIPS[1]) == "cartoon"
    listed = client.get("/v1/labeling/label-studio/projects").json()["projects"]
    assert [(each["id"], each["title"]) for each in listed] == [(8, "made by hand")]
    assert pulled(client, 8) == NOTHING | {"tasks": 4, "unchanged": 2, "unknown": 2}


def test_a_project_of_another_set_up_is_refused(client: TestClient, studio: StandIn) -> None:
    studio.projects[8] = {"id": 8, "title": "cats", "label_config": "<View/>", "parsed_label_config": {}}
    assert_problem(client.post("/v1/labeling/label-studio/projects/8/pull"), 409, "label_studio_setup")
    assert client.get("/v1/labeling/label-studio/projects").json() == {"projects": []}


def test_a_project_that_is_gone_is_forgotten_and_its_labels_stay(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    add_to(studio, project, task(1, CLIPS[1], CARTOON))
    pulled(client)
    studio.projects.clear()
    for _ in range(2):
        answer = client.post("/v1/labeling/label-studio/projects/7/pull")
        assert_problem(answer, 404, "label_studio_project_not_found")
    assert client.get("/v1/labeling/label-studio/projects").json() == {"projects": []}
    assert said(database, CLIPS[1]) == "cartoon"


@pytest.mark.parametrize("number", ["0", "-1", "x", str(2**31)])
def test_a_number_that_is_none_is_refused(client: TestClient, number: str) -> None:
    answer = client.post(f"/v1/labeling/label-studio/projects/{number}/pull")
    assert_problem(answer, 422, "invalid_parameters")


def test_without_a_label_studio_there_is_nothing_to_pull(settings: ServiceSettings) -> None:
    off = settings.model_copy(update={"label_studio_url": None, "label_studio_token": None})
    with TestClient(create_app(off)) as client:
        assert_problem(client.post("/v1/labeling/label-studio/projects/7/pull"), 409, "label_studio_off")


def test_what_is_left_out_is_told(client: TestClient, studio: StandIn, project: LabelStudioProjectRecord) -> None:
    broken = [*verdict("cartoon"), {"from_name": "action", "value": {"choices": ["burn"]}}]
    add_to(studio, project, task(1, CLIPS[1], annotation(31, broken, 5)))
    told = "the decision 'burn', which is none of keep, down-weight, drop"
    found = pulled(client)
    assert found["left_out"] == [{"task": 1, "clip": CLIPS[1], "left_out": told}]
    PulledProject.model_validate(found)
    assert pulled(client)["left_out"] == []  # nothing of it is new


def test_a_task_that_cannot_be_read_holds_up_no_other_and_is_told_of(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord, pages: None
) -> None:
    add_to(studio, project, task(2, CLIPS[2], annotation(32, verdict("static"), 5)))
    pulled(client)
    timeless = {"id": 41, "result": verdict("cartoon")}
    add_to(
        studio,
        project,
        task(1, CLIPS[1], timeless),
        task(2, CLIPS[2], timeless),
        task(3, CLIPS[3], annotation(33, verdict("cartoon"), 5)),
        task(6, "nobody", timeless),
        task(7, None, timeless),
        task(8, CLIPS[5], timeless),  # not known so far
    )
    for _ in range(2):
        found = pulled(client)
        assert [(each["task"], each["clip"]) for each in found["left_out"]] == [
            (1, CLIPS[1]),
            (2, CLIPS[2]),
            (8, CLIPS[5]),
        ]
        for each in found["left_out"]:
            assert each["left_out"].startswith(f"An annotation of task {each['task']} has no number or no time")
        assert (found["tasks"], found["unknown"]) == (8, 2)
        PulledProject.model_validate(found)
    assert [said(database, CLIPS[number]) for number in CLIPS] == [None, "static", "cartoon", None, None]
    assert changes(database) == {}


def test_a_task_that_cannot_be_read_any_more_holds_up_no_other(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    made = {number: annotation(30 + number, verdict("cartoon"), 5) for number in CLIPS}
    add_to(studio, project, *(task(number, clip, made[number]) for number, clip in CLIPS.items()))

    def spoil(call: str) -> None:
        if call == "GET tasks, done":  # between the first look and the second
            studio.refuse = lambda call: None
            for number in (2, 3):
                studio.tasks[number] = task(number, CLIPS[number], {"id": 41, "result": []})

    studio.refuse = spoil
    found = pulled(client)
    assert [each["task"] for each in found["left_out"]] == [2, 3]
    assert found | {"left_out": []} == NOTHING | {"tasks": 5, "labelled": 3, "unchanged": 2}
    assert [said(database, CLIPS[number]) for number in CLIPS] == ["cartoon", None, None, "cartoon", "cartoon"]


def test_a_project_of_a_server_whose_address_was_changed_is_taken_over_with_what_was_said(
    client: TestClient, database: Database, studio: StandIn
) -> None:
    old = add_project(database, CLIPS, server="http://localhost:8090")
    made = {number: annotation(30 + number, verdict("cartoon"), 5) for number in CLIPS}
    add_to(studio, old, *(task(number, clip, made[number]) for number, clip in CLIPS.items()))
    studio.projects[7] |= PROJECT | {"id": 7}
    assert pulled(client) == NOTHING | {"tasks": 5, "labelled": 5}
    listed = client.get("/v1/labeling/label-studio/projects").json()["projects"]
    assert [each["id"] for each in listed] == [7]


def test_what_was_pulled_before_a_failure_stays_and_the_rest_follows(
    client: TestClient,
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "ANNOTATED_PAGE", 2)
    monkeypatch.setattr(pull, "ANNOTATED_PAGE", 2)
    made = {number: annotation(30 + number, verdict("cartoon"), 5) for number in CLIPS}
    add_to(studio, project, *(task(number, clip, made[number]) for number, clip in CLIPS.items()))

    def fail(call: str) -> None:
        if call == "GET tasks" and studio.calls[call] == 4:  # page, its tasks again, page, its tasks again
            raise RefusalError(500, "broken")

    studio.refuse = fail
    assert_problem(client.post("/v1/labeling/label-studio/projects/7/pull"), 502, "label_studio_refused")
    assert [said(database, CLIPS[number]) for number in CLIPS] == ["cartoon", "cartoon", None, None, None]
    assert pulled(client) == NOTHING | {"tasks": 5, "labelled": 3, "unchanged": 2}


def test_what_a_pull_read_is_not_taken_over_where_it_is_old_by_now(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    """Between a pull's first look and its second one a reviewer skips, and the inbox of a process has seen to it."""
    add_to(studio, project, task(1, CLIPS[1], CARTOON))

    def skip(call: str) -> None:
        if call == "GET tasks, done":
            studio.refuse = lambda call: None
            studio.tasks[1] = task(1, CLIPS[1], CARTOON | {"was_cancelled": True})

    studio.refuse = skip
    assert pulled(client) == NOTHING | {"tasks": 5, "unchanged": 5}
    assert history(database, CLIPS[1]) == []


def test_what_is_told_of_while_a_pull_takes_over_is_read_again(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    add_to(studio, project, task(1, CLIPS[1], CARTOON))
    looks = []

    def tell(call: str) -> None:
        if call == "GET tasks, done":
            looks.append(call)
            if len(looks) == 2:  # the second look is over: what was seen is about to be taken over
                studio.tasks[1] = task(1, CLIPS[1], annotation(31, verdict("static"), 7))
                note(database, project, 1)

    studio.refuse = tell
    found = pulled(client)
    assert found["tasks"] == 5
    assert said(database, CLIPS[1]) == "static"
    assert [word for word, _ in history(database, CLIPS[1])] == ["static"]


def test_what_others_take_over_during_a_pull_is_not_taken_over_twice(
    client: TestClient, database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    add_to(studio, project, task(1, CLIPS[1], CARTOON))

    def overtake(call: str) -> None:
        if call == "GET tasks, done":
            studio.refuse = lambda call: None
            with LabelStudio(studio.url, TOKEN) as label_studio:
                reading = read_task(studio.tasks[1], People(label_studio))
            with database.writing() as session:
                assert reconcile(session, project.id, reading) == "labelled"

    studio.refuse = overtake
    assert pulled(client) == NOTHING | {"tasks": 5, "unchanged": 5}
    assert len(history(database, CLIPS[1])) == 1


# The command


def command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "motiontrace", "labels", "pull", "--url", url, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_the_command_pulls_all_projects_or_one(
    settings: ServiceSettings, database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    broken = [*verdict("cartoon"), {"from_name": "action", "value": {"choices": ["burn"]}}]
    add_to(studio, project, task(1, CLIPS[1], annotation(31, broken, 5)), task(6, "nobody"))
    add_project(database, {9: CLIPS[1]}, server=studio.url, number=8)  # deleted there
    with serving(settings) as (_, url):
        all_of_them = command(url)
        assert all_of_them.returncode == 0
        counts = "1 labelled, 0 changed, 0 withdrawn, 4 as they were, 1 of no clip that is known"
        assert all_of_them.stdout == f"'review': 6 tasks: {counts}\n"
        assert "left out of task 1 (left-red): the decision 'burn'" in all_of_them.stderr
        assert "has no project 8" in all_of_them.stderr
        one = command(url, "--project", "7", "--json")
        assert json.loads(one.stdout) == [NOTHING | {"id": 7, "tasks": 6, "unchanged": 5, "unknown": 1}]
        gone = command(url, "--project", "8")
        assert (gone.returncode, gone.stdout) == (1, "")
        assert "has no project 8" in gone.stderr
    assert said(database, CLIPS[1]) == "cartoon"
