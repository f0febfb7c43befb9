"""Label Studio's webhook: who may call it, what it notes, and how soon it answers."""

from __future__ import annotations

import copy
import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

from motiontrace.catalog.repositories import LabelStudioRepository, SecretRepository
from motiontrace.service.app import create_app
from motiontrace.service.labeling.label_studio.callback import ACTIONS, HEADER, PATH, SECRET
from motiontrace.service.labeling.label_studio.webhook import EVENTS, MAX_BODY_BYTES
from tests.service.asking import assert_problem, until
from tests.service.keys import make_key
from tests.service.labeling.reviews import add_project, add_to, annotation, changes, note, task, verdict
from tests.service.labeling.standin import TOKEN, RefusalError, StandIn, standing_in
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelStudioProjectRecord
    from motiontrace.service.settings import ServiceSettings

BOTH_DATABASES = True
CLIP = "left-red"
RECORDED = {
    call["body"]["action"]: call["body"]
    for file in sorted((Path(__file__).parents[2] / "labeling" / "wire" / "webhooks").glob("*.json"))
    for call in json.loads(file.read_text(encoding="utf-8"))
}  # what a real Label Studio has posted


@pytest.fixture
def studio() -> Iterator[StandIn]:
    """It refuses to be read: what is noted stays so."""
    with standing_in() as studio:

        def refuse(call: str) -> None:
            raise RefusalError(503, "not now")

        studio.refuse = refuse
        yield studio


@pytest.fixture
def settings(settings: ServiceSettings, studio: StandIn) -> ServiceSettings:
    return settings.model_copy(update={"label_studio_url": studio.url, "label_studio_token": SecretStr(TOKEN)})


@pytest.fixture
def project(database: Database, studio: StandIn) -> LabelStudioProjectRecord:
    return add_project(database, {5: CLIP, 6: "up blue"}, server=studio.url)


@pytest.fixture
def headers(database: Database) -> dict[str, str]:
    with database.writing() as session:
        return {HEADER: SecretRepository(session).get_or_create(SECRET).hex()}


def event(action: str, project: int = 7, **parts: Any) -> dict[str, Any]:
    return {"action": action, "project": {"id": project, "token": "hush"}, **parts}


SAID = event("ANNOTATION_CREATED", task={"id": 5}, annotation={"id": 3, "result": []})


@pytest.mark.parametrize("action", EVENTS)
def test_what_label_studio_posts_is_noted(
    client: TestClient, database: Database, studio: StandIn, headers: dict[str, str], action: str
) -> None:
    body = RECORDED[action]
    project = add_project(database, {5: CLIP}, server=studio.url, number=body["project"]["id"])
    tasks = {5}
    if "task" in body:
        tasks = {each["id"] for each in (body["task"] if isinstance(body["task"], list) else [body["task"]])}
    else:
        with database.writing() as session:
            projects = LabelStudioRepository(session)
            known = projects.locked(project.id, 5)
            assert known is not None
            projects.applied(known, annotation=body["annotations"][0]["id"], annotated_at=None, label=None)
    answer = client.post(PATH, json=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"noted": len(tasks)})
    assert set(changes(database)) == tasks


def test_what_is_asked_for_is_what_is_understood() -> None:
    assert set(EVENTS) == set(ACTIONS)


def test_events_of_several_tasks_are_noted(
    client: TestClient, database: Database, project: LabelStudioProjectRecord, headers: dict[str, str]
) -> None:
    several = event("ANNOTATIONS_CREATED", task=[{"id": 5}, {"id": 6}, {"id": 5}], annotation=[{"id": 3}, {"id": 4}])
    assert client.post(PATH, json=several, headers=headers).json() == {"noted": 2}
    assert set(changes(database)) == {5, 6}


def test_a_task_that_is_told_of_again_is_noted_once(
    client: TestClient, database: Database, project: LabelStudioProjectRecord, headers: dict[str, str]
) -> None:
    for _ in range(3):
        assert client.post(PATH, json=SAID, headers=headers).json() == {"noted": 1}
    assert set(changes(database)) == {5}


def test_what_is_being_read_while_something_is_deleted_is_read_again(
    client: TestClient, database: Database, project: LabelStudioProjectRecord, headers: dict[str, str]
) -> None:
    """Whose annotation it was is not known before what is read is taken over."""
    note(database, project, 6)
    with database.reading() as session:
        (before,) = LabelStudioRepository(session).waiting(project, [6])
    deleted = event("ANNOTATIONS_DELETED", annotations=[{"id": 99}])
    assert client.post(PATH, json=deleted, headers=headers).json() == {"noted": 0}
    with database.writing() as session:
        assert not LabelStudioRepository(session).done(project.id, 6, before.revision)
    assert set(changes(database)) == {6}


def test_a_deadlock_loses_nothing(
    client: TestClient,
    settings: ServiceSettings,
    database: Database,
    project: LabelStudioProjectRecord,
    headers: dict[str, str],
) -> None:
    """Label Studio does not send again what was answered with a failure."""
    if settings.database_url is None:
        pytest.skip("SQLite has one writer at a time")
    note(database, project, 5, 6)
    several = event("ANNOTATIONS_CREATED", task=[{"id": 5}, {"id": 6}], annotation=[{"id": 3}, {"id": 4}])
    lock = "UPDATE label_studio_changes SET attempts = 9 WHERE task = :task"
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as session:
            session.execute(text(lock), {"task": 6})
            answer = pool.submit(client.post, PATH, json=several, headers=headers)
            until(lambda: waiting_for_locks(database) == 1, 10)  # it has 5 and waits for 6
            session.execute(text(lock), {"task": 5})  # the one that has waited for a second, the webhook's, fails
        assert (answer.result(30).status_code, answer.result().json()) == (200, {"noted": 2})
    assert changes(database) == {5: 0, 6: 0}


def waiting_for_locks(database: Database) -> int:
    with database.reading() as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return int(session.scalar(text(query)) or 0)


@pytest.mark.parametrize(
    "body",
    [
        event("PROJECT_UPDATED"),
        event("TASKS_CREATED", tasks="whatever"),
        {"action": "TASKS_DELETED"},
        event("ANNOTATION_CREATED", project=8, task={"id": 5}),
        event("ANNOTATIONS_DELETED", annotations=[{"id": 99}]),
        event("ANNOTATIONS_DELETED", annotations=[]),
    ],
    ids=["other", "other, broken", "without a project", "unknown project", "unknown annotation", "none"],
)
def test_other_events_are_passed_over(
    client: TestClient, database: Database, project: LabelStudioProjectRecord, headers: dict[str, str], body: Any
) -> None:
    answer = client.post(PATH, json=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"noted": 0})
    assert changes(database) == {}


@pytest.mark.parametrize("given", [None, "", "0" * 64, "\xff", "secret\x80"])
def test_who_does_not_know_the_secret_is_refused(
    client: TestClient, database: Database, project: LabelStudioProjectRecord, given: str | None
) -> None:
    headers = {} if given is None else {HEADER: given.encode("latin-1")}
    answer = client.post(PATH, json=SAID, headers=headers)  # type: ignore[arg-type]
    assert_problem(answer, 401, "webhook_secret")
    assert answer.headers["www-authenticate"] == HEADER
    assert changes(database) == {}


def test_no_byte_of_a_body_is_read_for_those_who_do_not_know_the_secret(settings: ServiceSettings) -> None:
    with serving(settings) as (_, url), socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as line:
        line.settimeout(10)
        line.sendall(
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: 1000000\r\n{HEADER}: {'0' * 64}\r\n\r\n".encode()
        )
        assert line.recv(20).startswith(b"HTTP/1.1 401")  # although nothing of the body has come


def test_no_api_key_is_asked_for(
    settings: ServiceSettings, client: TestClient, project: LabelStudioProjectRecord, headers: dict[str, str]
) -> None:
    _, key = make_key(settings, "admin")
    assert_problem(client.get("/v1/clips"), 401, "key_missing")
    assert client.post(PATH, json=SAID, headers=headers).json() == {"noted": 1}
    assert_problem(client.post(PATH, json=SAID, headers={"authorization": key}), 401, "webhook_secret")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 422, "invalid_parameters"),
        (b"", 422, "invalid_parameters"),
        (b"[]", 422, "invalid_parameters"),
        (b"[" * 100_000, 422, "invalid_parameters"),
        (b'{"project": {"id": 7}}', 422, "invalid_parameters"),
        (b'{"action": 1}', 422, "invalid_parameters"),
        (json.dumps(event("ANNOTATION_UPDATED")).encode(), 422, "invalid_parameters"),
        (json.dumps(event("ANNOTATION_UPDATED", task={"id": "5"})).encode(), 422, "invalid_parameters"),
        (json.dumps(event("ANNOTATION_UPDATED", task={"id": 2**31})).encode(), 422, "invalid_parameters"),
        (json.dumps(event("ANNOTATIONS_DELETED", annotations=[{"id": -1}])).encode(), 422, "invalid_parameters"),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_event_is_refused(
    client: TestClient, database: Database, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    sent = headers | {"content-type": "application/json"}
    problem = assert_problem(client.post(PATH, content=content, headers=sent), status, code)
    assert "hush" not in json.dumps(problem)
    assert changes(database) == {}


def test_a_body_that_is_not_said_to_be_json_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert_problem(client.post(PATH, content=b"{}", headers=headers), 415, "not_json")


def test_without_a_label_studio_there_is_nothing_to_hear_of(
    settings: ServiceSettings, database: Database, headers: dict[str, str]
) -> None:
    off = settings.model_copy(update={"label_studio_url": None, "label_studio_token": None})
    with TestClient(create_app(off)) as client:
        assert_problem(client.post(PATH, json=SAID, headers=headers), 409, "label_studio_off")


def test_bodies_are_neither_logged_nor_stored(
    client: TestClient,
    settings: ServiceSettings,
    database: Database,
    project: LabelStudioProjectRecord,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    body = copy.deepcopy(RECORDED["ANNOTATION_CREATED"])
    body["project"] |= {"id": 7, "token": "hush-hush", "task_data_password": "hush-hush"}
    assert client.post(PATH, json=body, headers=headers).json() == {"noted": 1}
    client.post(PATH, json=body | {"task": "hush-hush"}, headers=headers)
    client.post(PATH, content=json.dumps(body)[:-1], headers=headers | {"content-type": "application/json"})
    assert "hush-hush" not in caplog.text
    assert headers[HEADER] not in caplog.text
    if settings.database_url is None:
        assert all(b"hush-hush" not in file.read_bytes() for file in settings.home.glob("catalog.db*"))


def test_it_answers_at_once_although_label_studio_is_slow(
    database: Database, studio: StandIn, settings: ServiceSettings, headers: dict[str, str]
) -> None:
    """Label Studio waits a second for an answer, and calls within its own answer to the reviewer."""
    tasks = [task(number, CLIP, annotation(number, verdict("cartoon"), 5)) for number in range(1, 201)]
    project = add_project(database, {each["id"]: CLIP for each in tasks}, server=studio.url)
    add_to(studio, project, *tasks)

    def hang(call: str) -> None:
        if call == "GET tasks":
            time.sleep(0.5)

    studio.refuse = hang
    with serving(settings) as (_, url), httpx.Client(base_url=url, timeout=30) as caller:
        taken = []
        for each in tasks:
            begun = time.perf_counter()
            said = event("ANNOTATION_UPDATED", task={"id": each["id"]})
            assert caller.post(PATH, json=said, headers=headers).json() == {"noted": 1}
            taken.append(time.perf_counter() - begun)
        until(lambda: not changes(database), 60)
    assert sorted(taken)[len(taken) * 95 // 100] < 0.5
