"""Pushing again: each clip once, whatever was killed in between, with links that work."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import LabelStudioRepository
from motiontrace.service.access.links import DAY_SECONDS
from motiontrace.service.app import create_app
from tests.service.asking import assert_problem, until
from tests.service.labeling.push.pushing import PROJECTS, WORST, clips_in, push, recorded
from tests.service.labeling.standin import TOKEN, RefusalError, StandIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motiontrace.service.settings import ServiceSettings

BOTH_DATABASES = True


def test_a_push_repeated_makes_no_task_twice_and_a_wider_one_makes_the_others(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    first = push(client, query, top=1, bottom=1)
    again = push(client, query, top=1, bottom=1)
    assert (again["id"], again["clips"], again["tasks_created"], again["tasks_there"]) == (first["id"], 2, 0, 2)
    wider = push(client, query, top=3, bottom=1)
    assert (wider["clips"], wider["tasks_created"], wider["tasks_there"]) == (4, 2, 2)
    assert sorted(clips_in(studio, first["id"])) == sorted(["up blue", "down blue", "right-red", "right blue"])
    assert len(recorded(settings, studio, first["id"])) == 4
    assert len(studio.projects) == len(studio.webhooks) == 1


@pytest.mark.parametrize("moment", ["POST import", "POST import, done"])
def test_a_push_that_breaks_off_at_an_import_is_finished_by_the_next(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str, moment: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("motiontrace.service.labeling.label_studio.push.BATCH", 2)

    def break_off(call: str) -> None:
        if call == moment and studio.calls["POST import"] == 2:
            raise RefusalError(502, "Bad Gateway")

    studio.refuse = break_off
    asked = {"queries": [query], "top": 3, "bottom": 2}
    assert_problem(client.post(PROJECTS, json=asked), 502, "label_studio_refused")
    studio.refuse = lambda call: None
    finished = push(client, query, top=3, bottom=2)
    assert finished["tasks_created"] + finished["tasks_there"] == 5
    clips = clips_in(studio, finished["id"])
    assert sorted(clips) == sorted(set(clips))
    assert len(clips) == 5
    made = {task["id"]: task["data"]["clip_id"] for task in studio.of(finished["id"])}
    assert recorded(settings, studio, finished["id"]) == made


def test_a_push_whose_process_is_killed_before_it_notes_its_tasks_is_taken_up_by_the_next(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    made, killed = threading.Event(), threading.Event()

    def hold(call: str) -> None:
        if call == "POST import, done":
            made.set()
            killed.wait(30)

    studio.refuse = hold
    with process_of(settings) as (process, url):
        asked = {"queries": [query], "top": 2, "bottom": 2}
        pushing = threading.Thread(target=lambda: swallowed(httpx.post, url + PROJECTS, json=asked, timeout=60))
        pushing.start()
        assert made.wait(60)
        process.kill()
        pushing.join()
    killed.set()
    project = studio.titled("motiontrace review")
    assert len(studio.of(project)) == 4
    assert recorded(settings, studio, project) == {}
    again = push(client, query, top=2, bottom=2)
    assert (again["tasks_created"], again["tasks_there"]) == (0, 4)
    assert sorted(recorded(settings, studio, project)) == [task["id"] for task in studio.of(project)]


@contextmanager
def process_of(settings: ServiceSettings) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service in a process of its own, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        "MOTIONTRACE_HOME": str(settings.home),
        "MOTIONTRACE_DATABASE_URL": settings.url,
        "MOTIONTRACE_LABEL_STUDIO_URL": str(settings.label_studio_url),
        "MOTIONTRACE_LABEL_STUDIO_TOKEN": TOKEN,
        "MOTIONTRACE_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "motiontrace", "serve", "--no-worker"], env=environment)
    try:
        until(lambda: swallowed(httpx.get, f"http://127.0.0.1:{port}/healthz") is not None, 180)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def swallowed(call: Callable[..., httpx.Response], *arguments: Any, **more: Any) -> httpx.Response | None:
    """What a call gives; None where nobody answers."""
    try:
        return call(*arguments, **more)
    except httpx.TransportError:
        return None


def test_tasks_that_were_deleted_in_label_studio_are_made_again(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=2, bottom=0)["id"]
    gone = studio.of(project)[0]["id"]
    del studio.tasks[gone]
    again = push(client, query, top=2, bottom=0)
    assert (again["tasks_created"], again["tasks_there"]) == (1, 1)
    assert gone not in recorded(settings, studio, project)


def test_a_push_finds_all_tasks_where_label_studio_gives_few_a_page(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=3, bottom=2)["id"]
    studio.most = 2
    again = push(client, query, top=3, bottom=2)
    assert (again["tasks_created"], again["tasks_there"]) == (0, 5)
    assert list(recorded(settings, studio, project)) == [task["id"] for task in studio.of(project)]


def test_tasks_that_became_known_while_the_list_was_read_are_not_forgotten(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=1, bottom=0)["id"]

    def make(call: str) -> None:
        if call == "GET tasks, done" and 900 not in studio.tasks:
            data = {"clip_id": WORST, "video": "x"}
            studio.tasks[900] = {"id": 900, "project": project, "data": data, "annotations": [], "predictions": []}
            database = Database.open(settings.url)
            with database.writing() as session:
                repository = LabelStudioRepository(session)
                known = repository.project(studio.url, project)
                assert known is not None
                repository.put_tasks(known.id, {900: WORST})
            database.close()

    studio.refuse = make
    push(client, query, top=1, bottom=0)
    assert recorded(settings, studio, project)[900] == WORST


@pytest.mark.parametrize(
    "data", [{}, {"clip_id": 7}, {"clip_id": "a\0b"}, {"clip_id": "\ud800"}, {"clip_id": "nobody"}]
)
def test_tasks_that_show_no_clip_of_ours_are_left_alone(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str, data: dict[str, Any]
) -> None:
    project = push(client, query, top=1, bottom=0)["id"]
    foreign = {"id": 900, "project": project, "data": dict(data), "annotations": [], "predictions": []}
    studio.tasks[900] = foreign
    assert push(client, query, top=2, bottom=0)["tasks_created"] == 1
    assert studio.tasks[900]["data"] == data
    assert 900 not in recorded(settings, studio, project)


@pytest.mark.parametrize("moment", ["POST projects", "GET webhooks"])
def test_while_a_project_is_pushed_to_another_push_is_refused_and_other_projects_are_free(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str, moment: str
) -> None:
    held, release = threading.Event(), threading.Event()

    def hold(call: str) -> None:
        if call == moment and not held.is_set():
            held.set()
            release.wait(30)

    studio.refuse = hold
    finished: list[Any] = []
    first = threading.Thread(target=lambda: finished.append(push(client, query, top=2, bottom=2)))
    first.start()
    assert held.wait(30)
    asked = {"queries": [query], "top": 2, "bottom": 2}
    assert_problem(client.post(PROJECTS, json=asked), 409, "push_under_way")
    assert push(client, query, title="another title")["tasks_created"] == 7
    with TestClient(create_app(settings, worker=False)) as other_process:
        assert_problem(other_process.post(PROJECTS, json=asked), 409, "push_under_way")
    release.set()
    first.join()
    assert finished[0]["tasks_created"] == 4
    assert push(client, query, top=2, bottom=2)["tasks_there"] == 4


def test_links_are_renewed_once_half_of_their_life_is_over(
    client: TestClient, studio: StandIn, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = push(client, query, top=1, bottom=1)["id"]
    first = {task["id"]: dict(task["data"]) for task in studio.of(project)}
    now = time.time()
    monkeypatch.setattr("motiontrace.service.access.links.time.time", lambda: now + 14 * DAY_SECONDS)
    assert push(client, query, top=1, bottom=1)["links_renewed"] == 0
    monkeypatch.setattr("motiontrace.service.access.links.time.time", lambda: now + 16 * DAY_SECONDS)
    # Of all tasks of the project, not of this push's alone.
    assert push(client, query, top=1, bottom=0)["links_renewed"] == 2
    for task in studio.of(project):
        before = first[task["id"]]
        assert task["data"] == before | {"video": task["data"]["video"]}
        assert ends(task) - ends({"data": before}) == 16 * DAY_SECONDS
        address = urlsplit(task["data"]["video"])
        assert client.get(f"{address.path}?{address.query}").status_code == 200
    assert push(client, query, top=1, bottom=1)["links_renewed"] == 0


def ends(task: dict[str, Any]) -> int:
    found = re.search(r"expires=(\d+)", task["data"]["video"])
    assert found is not None
    return int(found[1])


def test_links_that_lead_nowhere_any_more_are_made_anew_and_those_of_others_are_left_alone(
    client: TestClient, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=4, bottom=0)["id"]
    as_made = [dict(task["data"]) for task in studio.of(project)]
    old, forged, foreign, broken = (task["data"] for task in studio.of(project))
    old["video"] = old["video"].replace("http://127.0.0.1", "http://old.example.org")  # another public_url
    forged["video"] = forged["video"][:-64] + "0" * 64  # by the key of a database that was exchanged
    foreign["video"] = as_made[2]["video"] = "https://videos.example.org/7.mp4"
    broken["video"] = as_made[3]["video"] = f"http://[bad{urlsplit(broken['video']).path}"
    assert push(client, query, top=4, bottom=0)["links_renewed"] == 2
    assert [task["data"] for task in studio.of(project)] == as_made
