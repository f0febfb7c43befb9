"""The project that clips go to, its webhook, and what can be wrong with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from motiontrace.service.app import create_app
from tests.service.asking import assert_problem
from tests.service.labeling.projects import PROJECT
from tests.service.labeling.push.pushing import BEST, PROJECTS, ask, clips_in, push, recorded
from tests.service.labeling.standin import RefusalError, StandIn

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings

BOTH_DATABASES = True


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


def test_a_project_that_was_renamed_is_known_by_its_new_title_once_it_is_pushed_to_by_its_number(
    client: TestClient, studio: StandIn, query: str
) -> None:
    studio.projects[700] = {**PROJECT, "id": 700, "title": "Kim's own"}
    push(client, query, top=1, bottom=0, project=700)
    studio.projects[700]["title"] = "Everybody's"
    assert push(client, query, top=1, bottom=0, project=700)["title"] == "Everybody's"
    assert [each["title"] for each in client.get(PROJECTS).json()["projects"]] == ["Everybody's"]
    assert push(client, query, top=1, bottom=0, title="Everybody's")["id"] == 700


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
        ({"queries": ["q"], "bottom": 2.5}, "invalid_parameters", "bottom"),
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
