"""Label Studio's API over HTTP: tokens, pages, and what goes wrong, told to people."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from motiontrace.service.labeling.label_studio import connection
from motiontrace.service.labeling.label_studio.connection import LabelStudio, LabelStudioError, connect
from motiontrace.service.settings import ServiceSettings
from tests.service.labeling.standin import TOKEN, standing_in
from tests.service.scripted import Answer, answering, in_turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.scripted import Request

PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"


def ok(document: Any, status: int = 200) -> Answer:
    return Answer(status, body=json.dumps(document).encode())


def refusal(status: int, detail: str, **more: Any) -> Answer:
    return ok({"id": "1", "status_code": status, "version": "1.23.2", "detail": detail, **more}, status)


def failure(answer: Answer, call: Callable[[LabelStudio], Any] = LabelStudio.users) -> LabelStudioError:
    """What a call that is answered like that fails with."""
    with (
        answering(lambda _: answer) as (url, _),
        LabelStudio(url, TOKEN) as studio,
        pytest.raises(LabelStudioError) as error,
    ):
        call(studio)
    return error.value


def giving_tokens(answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """Hands out access-1, access-2, ... for the personal token; all else is answered by `answer`."""
    given = 0

    def respond(request: Request) -> Answer:
        nonlocal given
        if request.path != "/api/token/refresh/":
            return answer(request)
        assert "authorization" not in request.headers
        given += 1
        return ok({"access": f"access-{given}"})

    return respond


def test_a_legacy_token_goes_with_every_call() -> None:
    with answering(lambda _: ok([])) as (url, requests), LabelStudio(url, TOKEN) as studio:
        studio.users()
        assert [request.headers["authorization"] for request in requests] == [f"Token {TOKEN}"]


def test_a_personal_token_is_exchanged_once_for_an_access_token_that_goes_with_the_calls() -> None:
    with answering(giving_tokens(lambda _: ok([]))) as (url, requests), LabelStudio(url, PERSONAL) as studio:
        studio.users()
        studio.users()
        assert [request.path for request in requests] == ["/api/token/refresh/", "/api/users/", "/api/users/"]
        assert [request.headers.get("authorization") for request in requests[1:]] == ["Bearer access-1"] * 2


def test_an_access_token_is_renewed_before_its_300_seconds_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    with answering(giving_tokens(lambda _: ok([]))) as (url, requests), LabelStudio(url, PERSONAL) as studio:
        for seconds in (0, 200, 299, 480):
            monkeypatch.setattr(connection.time, "monotonic", lambda seconds=seconds: now + seconds)
            studio.users()
        used = [request.headers["authorization"] for request in requests if request.path == "/api/users/"]
        assert used == ["Bearer access-1", "Bearer access-1", "Bearer access-2", "Bearer access-2"]


def test_a_call_whose_access_token_is_refused_is_made_once_more_with_a_new_one() -> None:
    def answer(request: Request) -> Answer:
        return ok([]) if request.headers["authorization"] == "Bearer access-2" else refusal(401, "Token is expired")

    with answering(giving_tokens(answer)) as (url, requests), LabelStudio(url, PERSONAL) as studio:
        assert studio.users() == {}
        assert len(requests) == 4


def test_a_call_that_is_refused_with_a_new_access_token_too_is_not_made_again() -> None:
    answer = giving_tokens(lambda _: refusal(401, "Token is expired"))
    with answering(answer) as (url, requests), LabelStudio(url, PERSONAL) as studio:
        with pytest.raises(LabelStudioError, match="does not take the token: Token is expired") as error:
            studio.users()
        assert (error.value.code, error.value.status) == ("label_studio_token", 401)
        assert len(requests) == 4


def test_what_is_no_token_is_not_sent() -> None:
    with answering(lambda _: ok([])) as (url, requests), LabelStudio(url, "nonsense") as studio:
        with pytest.raises(LabelStudioError, match="neither a personal access token nor a legacy token") as error:
            studio.users()
        assert error.value.code == "label_studio_token"
        assert requests == []


def test_a_refusal_is_told_in_label_studios_words_without_the_data_that_they_quote() -> None:
    faults = {"non_field_errors": ['Error at item 0: "video" key is expected :: {"secret": 1}'], "title": ["Too long."]}
    answer = refusal(400, "Validation error", validation_errors=faults)
    error = failure(answer, lambda studio: studio.create_project(title="x"))
    assert (error.code, error.status) == ("label_studio_refused", 400)
    assert error.detail == 'Validation error: Error at item 0: "video" key is expected; title: Too long.'
    assert f"answered POST /api/projects/ with 400: {error.detail} " in str(error)


@pytest.mark.parametrize("body", [b"<html>secret</html>", b'"secret"', b'{"detail": null}', b""])
def test_a_refusal_without_words_is_told_all_the_same(body: bytes) -> None:
    error = failure(Answer(500, body=body))
    assert "with 500, and does not say why" in str(error)
    assert "secret" not in str(error)


def test_a_long_refusal_is_shortened() -> None:
    assert len(failure(refusal(400, "x" * 5000)).detail) == 600


def test_only_label_studios_own_404_says_that_there_is_none() -> None:
    none = refusal(404, "No Task matches the given query.")
    with answering(lambda _: none) as (url, _), LabelStudio(url, TOKEN) as studio:
        assert studio.project(7) is None
        assert studio.task(7) is None
    told = failure(none, lambda studio: studio.update_task(7, {}))
    assert (told.code, told.status) == ("label_studio_refused", 404)
    for other in (Answer(404, body=b"<h1>nginx</h1>"), ok({"detail": "Not Found"}, 404)):
        error = failure(other, lambda studio: studio.task(7))
        assert "has nothing at /api/tasks/7/" in str(error)
        assert error.status == 404


def test_a_redirection_is_not_followed() -> None:
    with answering(lambda _: Answer(302, {"location": "http://127.0.0.1:9/"})) as (url, requests):
        with LabelStudio(url, TOKEN) as studio, pytest.raises(LabelStudioError, match="redirection") as error:
            studio.users()
        assert error.value.code == "label_studio_unreachable"
        assert len(requests) == 1


@pytest.mark.parametrize("answer", [Answer(body=b"<html>"), Answer(body=b'{"a": 1}'), Answer(0)])
def test_what_is_no_answer_of_a_label_studio_is_told(answer: Answer) -> None:
    error = failure(answer)
    assert (error.code, error.status) == ("label_studio_unreachable", None)
    assert "MOTIONTRACE_LABEL_STUDIO_URL" in str(error)


def test_nobody_at_the_address_is_told() -> None:
    with (
        LabelStudio("http://127.0.0.1:9", TOKEN) as studio,
        pytest.raises(LabelStudioError, match="No answer") as error,
    ):
        studio.users()
    assert error.value.code == "label_studio_unreachable"


def test_an_answer_that_does_not_come_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 0.2)

    with (
        answering(lambda _: time.sleep(1) or ok([])) as (url, _),
        LabelStudio(url, TOKEN) as studio,
        pytest.raises(LabelStudioError, match="No answer"),
    ):
        studio.users()


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 1000)
    assert "more than 1,000 bytes" in str(failure(Answer(body=b"[" + b" " * 2000 + b"]")))


def test_cookies_are_not_sent_back() -> None:
    with answering(lambda _: Answer(200, {"set-cookie": "sessionid=1; Path=/"}, b"[]")) as (url, requests):
        with LabelStudio(url, TOKEN) as studio:
            studio.users()
            studio.users()
        assert all("cookie" not in request.headers for request in requests)


def test_neither_tokens_nor_bodies_are_logged_or_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "motiontrace.service")
    answers = in_turn(
        ok({"access": "access-1"}), ok({"token": "the project's secret"}), refusal(401, "No."), ok({}, 500)
    )
    with answering(answers) as (url, _), LabelStudio(url, PERSONAL) as studio:
        studio.project(1)
        with pytest.raises(LabelStudioError) as error:
            studio.update_task(1, {"caption": "a caption"})
        assert PERSONAL not in f"{studio!r}{error.value!r}{caplog.text}"
        assert "access-1" not in f"{error.value!r}{caplog.text}"
        assert "a caption" not in f"{error.value!r}{caplog.text}"
        assert "secret" not in caplog.text


def test_tasks_are_read_in_pages_each_from_behind_the_last_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAGE", 2)
    with standing_in() as state, LabelStudio(state.url, TOKEN) as studio:
        project = studio.create_project(title="pages", label_config="<View/>")["id"]
        other = studio.create_project(title="other", label_config="<View/>")["id"]
        tasks = studio.import_tasks(project, [{"data": {"video": f"{number}"}} for number in range(5)])
        studio.import_tasks(other, [{"data": {"video": "x"}}])
        reading = studio.tasks(project)
        found = [next(reading), next(reading)]
        del state.tasks[tasks[0]]  # while it is read, which moves all others up
        found += reading
        assert [(task["id"], task["data"]["video"]) for task in found] == [(t, str(n)) for n, t in enumerate(tasks)]
        assert state.calls["GET tasks"] == 3


def test_chosen_tasks_are_read_with_their_annotations_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANNOTATED_PAGE", 2)
    with standing_in() as state, LabelStudio(state.url, TOKEN) as studio:
        project = studio.create_project(title="some", label_config="<View/>")["id"]
        tasks = studio.import_tasks(project, [{"data": {"video": f"{number}"}} for number in range(4)])
        state.tasks[tasks[0]]["annotations"] = [{"id": 1, "completed_by": {"id": 7, "email": "kim@example.com"}}]
        found = list(studio.tasks_of(project, [*tasks[:3], 999]))
        assert [task["id"] for task in found] == tasks[:3]
        assert found[0]["annotations"] == [{"id": 1, "completed_by": 7}]


def test_all_tasks_are_read_where_label_studio_gives_fewer_a_page_than_are_asked_for() -> None:
    with standing_in() as state, LabelStudio(state.url, TOKEN) as studio:
        project = studio.create_project(title="pages", label_config="<View/>")["id"]
        tasks = studio.import_tasks(project, [{"data": {"video": f"{number}"}} for number in range(5)])
        state.most = 2
        assert [task["id"] for task in studio.tasks(project)] == tasks
        assert [task["id"] for task in studio.export(project)] == tasks
        assert [task["id"] for task in studio.tasks_of(project, [*reversed(tasks), 999])] == tasks
        assert state.calls["GET tasks"] == 3 * 3


def test_no_page_is_asked_for_once_all_tasks_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAGE", 2)
    monkeypatch.setattr(connection, "ANNOTATED_PAGE", 2)
    with standing_in() as state, LabelStudio(state.url, TOKEN) as studio:
        project = studio.create_project(title="pages", label_config="<View/>")["id"]
        tasks = studio.import_tasks(project, [{"data": {"video": f"{number}"}} for number in range(4)])
        for reading in (studio.tasks(project), studio.export(project), studio.tasks_of(project, tasks)):
            before = state.calls["GET tasks"]
            assert [task["id"] for task in reading] == tasks
            assert state.calls["GET tasks"] - before == 2


def test_tasks_that_go_while_they_are_counted_are_not_waited_for() -> None:
    with answering(lambda _: ok({"tasks": [], "total": 1})) as (url, requests), LabelStudio(url, TOKEN) as studio:
        assert list(studio.tasks(7)) == list(studio.tasks_of(7, [1])) == []
        assert len(requests) == 2


def test_the_parameters_of_a_page_are_those_that_label_studio_knows() -> None:
    with answering(lambda _: ok({"tasks": [], "total": 0})) as (url, requests), LabelStudio(url, TOKEN) as studio:
        assert list(studio.export(7)) == []
        (sent,) = requests
        query = parse_qs(urlsplit(sent.path).query)
        assert (query["project"], query["fields"], query["resolve_uri"]) == (["7"], ["all"], ["false"])
        assert {"id", "data", "annotations"} <= set(query["include"][0].split(","))


def test_an_import_that_tells_no_numbers_is_an_error() -> None:
    error = failure(ok({"import": 1}, 201), lambda studio: studio.import_tasks(7, [{"data": {}}]))
    assert "imported 0 tasks of 1" in str(error)


def test_a_server_is_known_where_the_settings_name_it_and_a_token(tmp_path: Path) -> None:
    assert connect(ServiceSettings(home=tmp_path)) is None
    assert connect(ServiceSettings(home=tmp_path, label_studio_url="http://127.0.0.1:9")) is None
    both: dict[str, Any] = {"label_studio_url": "http://127.0.0.1:9/studio", "label_studio_token": TOKEN}
    studio = connect(ServiceSettings(home=tmp_path, **both))
    assert studio is not None
    assert studio.url == "http://127.0.0.1:9/studio"
    studio.close()
