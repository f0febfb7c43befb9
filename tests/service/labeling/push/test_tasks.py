"""Which clips of queries become tasks, and what a task says, shows and suggests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from motiontrace.service.app import create_app
from tests.service.asking import assert_problem
from tests.service.clip_rows import change
from tests.service.labeling.push.pushing import BEST, PROJECTS, WORST, ask, clips_in, push, recorded, verdicts_in
from tests.service.labeling.reviewed import ASKED, NAME, SCORES

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus
    from tests.service.labeling.standin import StandIn

BOTH_DATABASES = True


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
        "video": "",
        "file_name": "up blue.mp4",
        "caption": "a square, up blue",
        "query_prompt": f"clips that move like {ASKED}",
        "query_id": query,
        "index": NAME,
        "clip_id": BEST,
        "rank": 1,
        "sign": "most alike, within chance",
        "score": 0.75,
        "stands_out": "",
        "chance": "not known: too few clips",
        "fps": 12.0,
        "verdict": "",
    }
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


@pytest.mark.parametrize(
    ("motion", "best", "worst"),
    [("good", "realistic", "unrealistic"), ("bad", "unrealistic", "realistic"), (None, None, None)],
)
def test_the_motion_of_the_query_decides_which_verdict_is_suggested(
    client: TestClient, studio: StandIn, among_others: str, motion: str | None, best: str | None, worst: str | None
) -> None:
    project = push(client, among_others, top=1, bottom=1, motion=motion)["id"]
    assert verdicts_in(studio, project) == {BEST: best, WORST: worst}
    signs = {task["data"]["clip_id"]: (task["data"]["sign"], task["data"]["stands_out"]) for task in studio.of(project)}
    assert signs == {BEST: ("moves like it", "teaches"), WORST: ("moves against it", "fights")}
    assert all(re.fullmatch(r"-0\.[12]\d\d to \+0\.[12]\d\d", task["data"]["chance"]) for task in studio.of(project))


@pytest.mark.parametrize("motion", ["good", "bad"])
def test_nothing_is_suggested_of_clips_that_do_not_stand_out_from_chance(
    client: TestClient, studio: StandIn, query: str, motion: str
) -> None:
    """In an index of seven other clips nobody can tell: the lowest score is no reason to drop a clip."""
    project = push(client, query, top=1, bottom=1, motion=motion)["id"]
    assert verdicts_in(studio, project) == {BEST: None, WORST: None}


def test_what_reviewers_said_is_suggested_before_all_else_where_the_project_offers_it(
    client: TestClient, studio: StandIn, among_others: str
) -> None:
    client.put(f"/v1/clips/{BEST}/labels", json={"verdict": "cartoon"})
    client.put(f"/v1/clips/{WORST}/labels", json={"verdict": "a word of our own"})
    project = push(client, among_others, top=1, bottom=1, motion="good")["id"]
    assert verdicts_in(studio, project) == {BEST: "cartoon", WORST: "unrealistic"}
    assert [task["data"]["verdict"] for task in studio.of(project)] == ["cartoon", "a word of our own"]


def test_a_new_project_offers_the_verdicts_of_its_push_and_suggests_no_other(
    client: TestClient, studio: StandIn, among_others: str
) -> None:
    verdicts = ['"quoted" & <tagged>', "unrealistic", "ünïcode ✓"]
    project = push(client, among_others, top=1, bottom=1, motion="good", verdicts=verdicts)["id"]
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
    best = [clip for clip, sign in signs.items() if sign == "most alike, within chance"]
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
        "down-red": {"codec": "gif"},
    }
    for clip_id, fields in changes.items():
        change(settings, clip_id, **fields)
    pushed = push(client, query, top=7, bottom=0)
    assert clips_in(studio, pushed["id"]) == ["down blue"]
    reasons = {each["clip"]: each["reason"] for each in pushed["left_out"]}
    assert reasons.keys() == changes.keys()
    assert "could not be read as a video" in reasons["up blue"]
    assert "frame rate" in reasons["right-red"]
    assert "does not exist" in reasons["right blue"]
    assert "serves no files" in reasons["left-red"]
    assert "frame rate" in reasons["left blue"]
    assert "Browsers do not play gif" in reasons["down-red"]
    problem = client.post(PROJECTS, json={"queries": [query], "top": 2, "bottom": 0})
    assert "could not be read" in assert_problem(problem, 409, "nothing_to_push")["detail"]


def test_a_query_that_ranks_nothing_makes_no_project(client: TestClient, studio: StandIn) -> None:
    query = ask(client, filter={"metadata": {"motion": ["nothing"]}})
    assert_problem(client.post(PROJECTS, json={"queries": [query]}), 409, "nothing_to_push")
    assert studio.projects == {}


def test_an_unknown_query_and_one_that_is_not_done_are_refused(
    settings: ServiceSettings, corpus: Corpus, studio: StandIn
) -> None:
    with TestClient(create_app(settings, worker=False)) as client:  # where it stays queued
        files, texts = {"video": corpus.video("up-red").read_bytes()}, {"prompt": "a square", "index": NAME}
        queued = client.post("/v1/queries", files=files, data=texts).json()["id"]
        assert_problem(client.post(PROJECTS, json={"queries": [queued]}), 409, "query_not_done")
        assert_problem(client.post(PROJECTS, json={"queries": [ask(client), "nobody"]}), 404, "query_not_found")
    assert studio.projects == {}
