"""Pushing clips into a project: each once, whatever was killed in between, with links that work."""

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
from pydantic import SecretStr

from catalog.database import Database
from catalog.records import ClipRecord
from catalog.repositories import LabelStudioRepository
from service.access.links import DAY_SECONDS
from service.app import create_app
from tests.service.asking import assert_problem, until
from tests.service.labeling.projects import PROJECT
from tests.service.labeling.reviewed import ASKED, NAME, SCORES, index_reviewed
from tests.service.labeling.standin import TOKEN, RefusalError, StandIn, standing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True
PROJECTS = "/v1/labeling/label-studio/projects"
BEST, WORST = "up blue", "down blue"


@pytest.fixture
def studio() -> Iterator[StandIn]:
    with standing_in() as state:
        yield state


@pytest.fixture
def settings(settings: ServiceSettings, corpus: Corpus, studio: StandIn) -> ServiceSettings:
    index_reviewed(corpus, settings)
    return settings.model_copy(update={"label_studio_url": studio.url, "label_studio_token": SecretStr(TOKEN)})


@pytest.fixture
def query(client: TestClient) -> str:
    return ask(client)


def ask(client: TestClient, clip: str = ASKED, **more: Any) -> str:
    asked = client.post("/v1/queries", json={"clip": clip, "index": NAME, "k": 1, **more})
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


def test_both_ends_of_a_ranking_become_tasks_of_a_new_project(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    pushed = push(client, query, top=2, bottom=2, title="review of balls")
    project = pushed["id"]
    assert clips_in(studio, project) == ["up blue", "right-red", "down blue", "down-red"]
    assert pushed == {
        "id": project,
        "url": f"{studio.url}/projects/{project}/data",
        "title": "review of balls",
        "clips": 4,
        "tasks_created": 4,
        "tasks_there": 0,
        "links_renewed": 0,
        "left_out": [],
        "callback": {"active": True, "reason": None},
    }
    assert studio.projects[project]["title"] == "review of balls"
    assert recorded(settings, studio, project) == {task["id"]: task["data"]["clip_id"] for task in studio.of(project)}
    (known,) = client.get(PROJECTS).json()["projects"]
    assert (known["id"], known["url"], known["title"]) == (project, pushed["url"], "review of balls")


def test_a_task_says_where_its_clip_stands_and_shows_when_and_where_it_moves(
    client: TestClient, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=1, bottom=1)["id"]
    best, worst = studio.of(project)
    assert best["data"] | {"video": ""} == {
        "video": "", "caption": "a square, up blue", "query_prompt": f"clips that move like {ASKED}",
        "query_id": query, "index": NAME, "clip_id": BEST, "rank": 1, "sign": "moves like it", "score": 0.75,
        "fps": 12.0, "verdict": "",
    }  # fmt: skip
    assert (worst["data"]["rank"], worst["data"]["sign"], worst["data"]["score"]) == (7, "moves least like it", -0.875)
    (prediction,) = best["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("motiontrace", 0.875)
    assert [item["from_name"] for item in prediction["result"]] == ["segment", "box"]
    assert prediction["result"][0]["value"]["ranges"] == [{"start": 4, "end": 7}]
    assert worst["predictions"] == []  # nothing is known of its motion


def test_the_link_of_a_task_plays_its_clip_without_a_key(
    client: TestClient, corpus: Corpus, studio: StandIn, query: str, settings: ServiceSettings
) -> None:
    link = studio.of(push(client, query, top=1, bottom=0)["id"])[0]["data"]["video"]
    assert link.startswith(f"{settings.public_address}/media/clips/up%20blue/video?")
    address = urlsplit(link)
    played = client.get(f"{address.path}?{address.query}")
    assert (played.status_code, played.content) == (200, corpus.video(BEST).read_bytes())


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
    monkeypatch.setattr("service.labeling.label_studio.push.BATCH", 2)

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
    if settings.url.startswith("postgresql"):
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
    monkeypatch.setattr("service.access.links.time.time", lambda: now + 14 * DAY_SECONDS)
    assert push(client, query, top=1, bottom=1)["links_renewed"] == 0
    monkeypatch.setattr("service.access.links.time.time", lambda: now + 16 * DAY_SECONDS)
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
    old, forged, foreign, _ = (task["data"] for task in studio.of(project))
    old["video"] = old["video"].replace("http://127.0.0.1", "http://old.example.org")  # another public_url
    forged["video"] = forged["video"][:-64] + "0" * 64  # by the key of a database that was exchanged
    foreign["video"] = as_made[2]["video"] = "https://videos.example.org/7.mp4"
    assert push(client, query, top=4, bottom=0)["links_renewed"] == 2
    assert [task["data"] for task in studio.of(project)] == as_made


@pytest.mark.parametrize(
    ("motion", "best", "worst"),
    [("good", "realistic", "unrealistic"), ("bad", "unrealistic", "realistic"), (None, None, None)],
)
def test_the_motion_of_the_query_decides_which_verdict_is_suggested(
    client: TestClient, studio: StandIn, query: str, motion: str | None, best: str | None, worst: str | None
) -> None:
    project = push(client, query, top=1, bottom=1, motion=motion)["id"]
    assert verdicts_in(studio, project) == {BEST: best, WORST: worst}


def test_what_reviewers_said_is_suggested_before_all_else_where_the_project_offers_it(
    client: TestClient, studio: StandIn, query: str
) -> None:
    client.put(f"/v1/clips/{BEST}/labels", json={"verdict": "cartoon"})
    client.put(f"/v1/clips/{WORST}/labels", json={"verdict": "a word of our own"})
    project = push(client, query, top=1, bottom=1, motion="good")["id"]
    assert verdicts_in(studio, project) == {BEST: "cartoon", WORST: "unrealistic"}
    assert [task["data"]["verdict"] for task in studio.of(project)] == ["cartoon", "a word of our own"]


def test_a_new_project_offers_the_verdicts_of_its_push_and_suggests_no_other(
    client: TestClient, studio: StandIn, query: str
) -> None:
    verdicts = ['"quoted" & <tagged>', "unrealistic", "ünïcode ✓"]
    project = push(client, query, top=1, bottom=1, motion="good", verdicts=verdicts)["id"]
    assert studio.projects[project]["parsed_label_config"]["verdict"]["labels"] == verdicts
    assert verdicts_in(studio, project) == {BEST: None, WORST: "unrealistic"}


def test_a_clip_of_several_queries_is_one_task_for_the_first_of_them(
    client: TestClient, studio: StandIn, query: str
) -> None:
    other = ask(client, "down blue")
    project = push(client, query, other, top=2, bottom=2)["id"]
    clips = clips_in(studio, project)
    assert sorted(clips) == sorted(set(clips))
    shown = {task["data"]["clip_id"]: task["data"]["query_id"] for task in studio.of(project)}
    assert [shown[clip] for clip in ("up blue", "right-red", "down blue", "down-red")] == [query] * 4
    assert other in shown.values()


def test_where_the_ends_of_a_short_ranking_meet_a_clip_is_of_the_end_that_it_is_nearer_to(
    client: TestClient, studio: StandIn, query: str
) -> None:
    pushed = push(client, query, top=10, bottom=10)
    assert pushed["clips"] == 7
    signs = {task["data"]["clip_id"]: task["data"]["sign"] for task in studio.of(pushed["id"])}
    best = [clip for clip, sign in signs.items() if sign == "moves like it"]
    assert best == list(SCORES)[:4]


def test_a_filter_holds_beside_the_query_s_own(client: TestClient, studio: StandIn) -> None:
    query = ask(client, filter={"metadata": {"motion": ["right", "right blue", "left", "down"]}})
    client.put("/v1/clips/left-red/labels", json={"decision": "drop"})
    pushed = push(client, query, top=10, bottom=0, filter={"without_decision": ["drop"]})
    assert clips_in(studio, pushed["id"]) == ["right-red", "right blue", "down-red"]


def test_clips_that_cannot_be_shown_are_left_out_with_the_reason(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "up blue": {"codec": None},
        "right-red": {"fps": None},
        "right blue": {"path": "/nowhere/clip.mp4"},
        "left-red": {"path": str(settings.index_directory / "manifest.json")},
        "left blue": {"fps": 0.5},
    }
    database = Database.open(settings.url)
    with database.writing() as session:
        for clip_id, fields in changes.items():
            for name, value in fields.items():
                setattr(session.get(ClipRecord, clip_id), name, value)
    database.close()
    pushed = push(client, query, top=6, bottom=0)
    assert clips_in(studio, pushed["id"]) == ["down-red"]
    reasons = {each["clip"]: each["reason"] for each in pushed["left_out"]}
    assert reasons.keys() == changes.keys()
    assert "could not be read as a video" in reasons["up blue"]
    assert "frame rate" in reasons["right-red"]
    assert "gone" in reasons["right blue"]
    assert "serves no files" in reasons["left-red"]
    assert "frame rate" in reasons["left blue"]
    problem = client.post(PROJECTS, json={"queries": [query], "top": 2, "bottom": 0})
    assert "could not be read" in assert_problem(problem, 409, "nothing_to_push")["detail"]


def test_a_query_that_ranks_nothing_makes_no_project(client: TestClient, studio: StandIn) -> None:
    query = ask(client, filter={"metadata": {"motion": ["nothing"]}})
    assert_problem(client.post(PROJECTS, json={"queries": [query]}), 409, "nothing_to_push")
    assert studio.projects == {}


def test_an_unknown_query_and_one_that_is_not_done_are_refused(
    client: TestClient, corpus: Corpus, studio: StandIn, query: str
) -> None:
    assert_problem(client.post(PROJECTS, json={"queries": [query, "nobody"]}), 404, "query_not_found")
    (failed,) = (
        client.post(
            "/v1/queries",
            files={"video": ("v.mp4", corpus.video("still").read_bytes())},
            data={"prompt": "x", "index": NAME},
        ).json(),
    )
    if failed["status"] != "done":
        assert_problem(client.post(PROJECTS, json={"queries": [failed["id"]]}), 409, "query_not_done")
    assert studio.projects == {}


def test_a_title_finds_its_project_again_until_that_is_deleted(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    first = push(client, query, top=1, bottom=0, title="balls")["id"]
    assert push(client, query, top=1, bottom=0, title="other balls")["id"] != first
    studio.projects[first]["title"] = "renamed by somebody"
    assert push(client, query, top=1, bottom=0, title="balls")["id"] == first
    del studio.projects[first]
    studio.tasks = {number: task for number, task in studio.tasks.items() if task["project"] != first}
    again = push(client, query, top=1, bottom=0, title="balls")
    assert again["id"] != first
    assert again["tasks_created"] == 1
    assert first not in {each["id"] for each in client.get(PROJECTS).json()["projects"]}
    assert recorded(settings, studio, first) == {}


def test_a_project_of_somebody_s_own_is_pushed_to_by_its_number(
    client: TestClient, studio: StandIn, query: str
) -> None:
    studio.projects[700] = {**PROJECT, "id": 700, "title": "Kim's own"}
    pushed = push(client, query, top=1, bottom=0, project=700, verdicts=["ignored"])
    assert (pushed["id"], pushed["title"]) == (700, "Kim's own")
    assert clips_in(studio, 700) == [BEST]
    assert push(client, query, top=1, bottom=0, project=700)["tasks_there"] == 1
    assert push(client, query, top=1, bottom=0, title="Kim's own")["id"] == 700


def test_a_project_that_is_not_there_or_not_fit_is_refused_with_what_is_missing(
    client: TestClient, studio: StandIn, query: str
) -> None:
    asked = {"queries": [query], "project": 700}
    assert_problem(client.post(PROJECTS, json=asked), 404, "label_studio_project_not_found")
    controls = {name: control for name, control in PROJECT["parsed_label_config"].items() if name != "segment"}
    studio.projects[700] = {**PROJECT, "id": 700, "parsed_label_config": controls}
    problem = assert_problem(client.post(PROJECTS, json=asked), 409, "label_studio_setup")
    assert "TimelineLabels named 'segment' with toName='video'" in problem["detail"]
    assert studio.tasks == {}
    assert client.get(PROJECTS).json()["projects"] == []


def test_the_webhook_brings_a_secret_and_is_about_annotations_alone(
    client: TestClient, settings: ServiceSettings, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=1, bottom=0)["id"]
    (hook,) = studio.webhooks.values()
    assert hook["url"] == f"{settings.public_address}/labeling/label-studio/webhook"
    assert hook["project"] == project
    assert re.fullmatch("[0-9a-f]{64}", hook["headers"]["X-Motiontrace-Secret"])
    assert (hook["send_for_all_actions"], hook["send_payload"], hook["is_active"]) == (False, True, True)
    assert {"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"} <= set(hook["actions"])
    assert all(action.startswith("ANNOTATION") for action in hook["actions"])


def test_our_webhook_is_mended_and_kept_single_and_those_of_others_are_left_alone(
    client: TestClient, studio: StandIn, query: str
) -> None:
    project = push(client, query, top=1, bottom=0)["id"]
    ((number, ours),) = studio.webhooks.items()
    as_made = dict(ours)
    foreign = {"id": 900, "project": project, "url": "http://chat.example.org", "headers": {}, "actions": []}
    elsewhere = {**ours, "id": 901, "headers": {"X-Motiontrace-Secret": "of another service"}}
    studio.webhooks |= {900: dict(foreign), 901: dict(elsewhere), 902: {**ours, "id": 902}}
    ours.update(url="http://old.example.org/labeling/label-studio/webhook", is_active=False, actions=[])
    push(client, query, top=1, bottom=0)
    assert studio.webhooks == {number: as_made, 900: foreign, 901: elsewhere}
    changes = studio.calls["PATCH webhooks"]
    push(client, query, top=1, bottom=0)
    assert studio.calls["PATCH webhooks"] == changes


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            RefusalError(400, "Validation error", validation_errors={"url": ["Enter a valid URL."]}),
            "The host needs a dot in its name: set MOTIONTRACE_LABEL_STUDIO_CALLBACK_URL",
        ),
        (
            RefusalError(403, "URL resolves to a reserved network address (block: 10.0.0.0/8)"),
            "USE_DEFAULT_BANNED_SUBNETS=false",
        ),
        (RefusalError(500, "Can't resolve hostname api.lan"), "Set MOTIONTRACE_LABEL_STUDIO_CALLBACK_URL"),
    ],
)
def test_where_label_studio_does_not_take_our_address_the_push_says_what_to_set(
    client: TestClient, studio: StandIn, query: str, refusal: RefusalError, told: str
) -> None:
    def refuse(call: str) -> None:
        if call == "POST webhooks":
            raise refusal

    studio.refuse = refuse
    pushed = push(client, query, top=1, bottom=1)
    assert pushed["tasks_created"] == 2
    assert pushed["callback"]["active"] is False
    assert refusal.body["detail"] in pushed["callback"]["reason"]
    assert told in pushed["callback"]["reason"]


def test_the_webhook_goes_to_the_address_at_which_label_studio_reaches_the_service(
    settings: ServiceSettings, studio: StandIn
) -> None:
    addresses = {
        "public_url": "https://motion.example.org",
        "label_studio_callback_url": "http://motiontrace.internal:8600",
        "label_studio_public_url": "https://labels.example.org",
    }
    with TestClient(create_app(settings.model_copy(update=addresses))) as client:
        pushed = push(client, ask(client), top=1, bottom=0)
        assert client.get(PROJECTS).json()["projects"][0]["url"] == pushed["url"]
    (hook,) = studio.webhooks.values()
    assert hook["url"] == "http://motiontrace.internal:8600/labeling/label-studio/webhook"
    assert studio.of(pushed["id"])[0]["data"]["video"].startswith("https://motion.example.org/media/clips/")
    assert pushed["url"] == f"https://labels.example.org/projects/{pushed['id']}/data"


def test_what_is_wrong_between_the_service_and_label_studio_is_told(
    client: TestClient, studio: StandIn, query: str
) -> None:
    def refuse(call: str) -> None:
        raise RefusalError(401, "Invalid token.")

    studio.refuse = refuse
    problem = assert_problem(client.post(PROJECTS, json={"queries": [query]}), 502, "label_studio_token")
    assert "MOTIONTRACE_LABEL_STUDIO_TOKEN" in problem["todo"]


def test_a_label_studio_that_is_down_is_told(settings: ServiceSettings) -> None:
    down = settings.model_copy(update={"label_studio_url": "http://127.0.0.1:9"})
    with TestClient(create_app(down)) as client:
        asked = {"queries": [ask(client)]}
        assert_problem(client.post(PROJECTS, json=asked), 502, "label_studio_unreachable")
        assert client.get(PROJECTS).json() == {"projects": []}


def test_a_service_that_knows_no_label_studio_says_what_to_set(settings: ServiceSettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"label_studio_token": None}))) as client:
        for response in (client.get(PROJECTS), client.post(PROJECTS, json={"queries": [ask(client)]})):
            problem = assert_problem(response, 409, "label_studio_off")
            assert "MOTIONTRACE_LABEL_STUDIO_URL" in problem["todo"]


@pytest.mark.parametrize(
    ("sent", "code", "field"),
    [
        ({"queries": []}, "invalid_parameters", "queries"),
        ({"queries": ["q"] * 65}, "invalid_parameters", "queries"),
        ({"queries": ["a\0b"]}, "invalid_parameters", "queries.0"),
        ({"queries": ["q"], "top": 501}, "invalid_parameters", "top"),
        ({"queries": ["q"], "bottom": "3"}, "invalid_parameters", "bottom"),
        ({"queries": ["q"], "title": "ab"}, "invalid_parameters", "title"),
        ({"queries": ["q"], "title": "x" * 51}, "invalid_parameters", "title"),
        ({"queries": ["q"], "project": 0}, "invalid_parameters", "project"),
        ({"queries": ["q"], "motion": "fine"}, "invalid_parameters", "motion"),
        ({"queries": ["q"], "verdict": ["x"]}, "invalid_parameters", "verdict"),
        ({"queries": ["q"], "top": 0, "bottom": 0}, "unfit_push", "body"),
        ({"queries": ["q"], "title": "    "}, "unfit_push", "title"),
        ({"queries": ["q"], "verdicts": ["a", "a"]}, "unfit_push", "verdicts"),
        ({"queries": ["q"], "verdicts": ["a", "$fps"]}, "unfit_push", "verdicts.1"),
    ],
)
def test_what_cannot_be_pushed_is_refused_by_its_field(
    client: TestClient, sent: dict[str, Any], code: str, field: str
) -> None:
    problem = assert_problem(client.post(PROJECTS, json=sent), 422, code)
    assert [error["field"] for error in problem["errors"]] == [field]
