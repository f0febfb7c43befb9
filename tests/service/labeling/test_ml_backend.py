"""What Label Studio's calls of its ML backend are answered; they are made as it makes them (1.23.2, as recorded)."""

from __future__ import annotations

import base64
import json
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from catalog.records import EntryRecord, QueryRecord
from catalog.repositories import LabelRepository
from service.app import create_app
from service.labeling.label_studio.ml.config import read_setup
from service.labeling.label_studio.ml.schemas import MAX_BODY_BYTES, MAX_CONFIG, MAX_TASKS
from service.labeling.label_studio.setup import CONTROLS, Setup, SetupError, label_config
from tests.service.asking import assert_problem
from tests.service.keys import make_key, revoke_key
from tests.service.labeling.projects import PROJECT
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.settings import ServiceSettings

BOTH_DATABASES = True
ML = "/labeling/label-studio/ml"
CONFIG = label_config()
STUDIOS_TOKEN = "ls-access-token-0123456789abcdef"
REGION = {
    "ranges": [{"start": 0.25, "end": 1.0}],
    "boxes": [{"keyframes": [
        {"time": 0.25, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "visible": True},
        {"time": 1.0, "x": 0.5, "y": 0.2, "width": 0.3, "height": 0.4, "visible": False},
    ]}],
}  # fmt: skip


def setup_call(**changes: Any) -> dict[str, Any]:
    """The body of POST /setup, with the secret that comes with it."""
    return {
        "project": "2.1795363290", "schema": CONFIG, "hostname": "http://127.0.0.1:8081",
        "access_token": STUDIOS_TOKEN, "extra_params": None, **changes,
    }  # fmt: skip


def task(number: int = 13, **data: Any) -> dict[str, Any]:
    """A task as it comes in POST /predict."""
    return {
        "id": number, "data": {"video": "http://127.0.0.1/x.mp4", "caption": "", "fps": 8.0, **data}, "meta": {},
        "created_at": "2026-11-22T16:01:31.382571Z", "updated_at": "2026-11-22T16:01:31.382577Z", "is_labeled": False,
        "overlap": 1, "inner_id": 3, "total_annotations": 0, "cancelled_annotations": 0, "total_predictions": 0,
        "comment_count": 0, "unresolved_comment_count": 0, "last_comment_updated_at": None, "project": 2,
        "updated_by": None, "file_upload": None, "comment_authors": [], "annotations": [], "predictions": [],
    }  # fmt: skip


def predict_call(*tasks: Any, context: Any = None, config: str = CONFIG) -> dict[str, Any]:
    """The body of POST /predict; `context` is what an annotator has drawn, where it is asked for meanwhile."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": "2.1795363290", "label_config": config, "params": params}


def predicted(client: TestClient, *tasks: Any, at: str = ML, **more: Any) -> list[Any]:
    """The results for these tasks."""
    answer = client.post(f"{at}/predict", json=predict_call(*tasks, **more))
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"results"}
    results: list[Any] = answer.json()["results"]
    assert len(results) == len(tasks)
    return results


@pytest.fixture
def query(client: TestClient) -> str:
    """A query that is done, which the clips of the index have regions for."""
    context = client.app.state.context  # type: ignore[attr-defined]
    with context.database.writing() as session:
        for entry in session.query(EntryRecord):
            entry.motion_region = REGION
    identity: str = client.post("/v1/queries", json={"clip": "up-red", "k": 2}).json()["id"]
    return identity


def scores(client: TestClient, query: str) -> dict[str, float]:
    """The query's scores of all clips that it ranks, on Label Studio's scale of 0 to 1."""
    ranking = client.get(f"/v1/queries/{query}/clips?limit=200").json()["clips"]
    return {hit["id"]: (1 + hit["score"]) / 2 for hit in ranking}


def test_it_is_there_says_its_version_and_takes_our_set_up(client: TestClient, query: str) -> None:
    for at, version in ((ML, "motiontrace"), (f"{ML}/queries/{query}", f"motiontrace-{query[:8]}")):
        assert client.get(f"{at}/health").json() == {"status": "UP", "model_class": "motiontrace"}
        assert client.post(f"{at}/setup", json=setup_call()).json() == {"model_version": version}
        assert client.get(f"{at}/versions").json() == {"versions": [version]}
        assert predicted(client, task(clip_id="up blue", query_id=query), at=at)[0]["model_version"] == version


def test_a_prediction_is_what_is_stored_of_the_clip(client: TestClient, query: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        LabelRepository(session).put("up blue", verdict="cartoon", decision=None, tool="api")
    (found,) = predicted(client, task(clip_id="up blue", query_id=query))
    assert found["score"] == pytest.approx(scores(client, query)["up blue"], abs=1e-4)
    verdict, segment, box = found["result"]
    assert (verdict["from_name"], verdict["value"]) == ("verdict", {"choices": ["cartoon"]})
    # 0.25 and 1 s at 8 frames a second, counted from 1.
    assert (segment["from_name"], segment["value"]["ranges"]) == ("segment", [{"start": 3, "end": 9}])
    assert [(each["frame"], each["x"], each["enabled"]) for each in box["value"]["sequence"]] == [
        (3, 10, True), (9, 50, False),
    ]  # fmt: skip


def test_frames_are_counted_by_the_rate_that_the_task_names(client: TestClient, query: str) -> None:
    for fps, frames in ((4.0, (2, 5)), ("16", (5, 17)), (None, (7, 25)), ("fast", (7, 25))):  # 24 is Label Studio's own
        (found,) = predicted(client, task(clip_id="up blue", query_id=query, fps=fps))
        assert found["result"][0]["value"]["ranges"] == [{"start": frames[0], "end": frames[1]}]


def test_every_clip_that_the_query_ranks_has_a_prediction_not_only_both_ends(client: TestClient, query: str) -> None:
    known = scores(client, query)
    assert len(known) > 2 * 2  # of which the query's own answer holds k at each end
    found = predicted(client, *(task(clip_id=each, query_id=query) for each in known))
    assert [each["score"] for each in found] == pytest.approx(list(known.values()), abs=1e-4)


@pytest.mark.parametrize(
    "data",
    [
        {}, {"clip_id": "none"}, {"clip_id": "still"}, {"clip_id": "broken"}, {"clip_id": None}, {"clip_id": 7},
        {"clip_id": ["up blue"]}, {"clip_id": "a\0b"}, {"clip_id": "x" * 10_000},
        {"clip_id": "up-red"},  # the query is about it
        {"clip_id": "up blue", "query_id": "none"}, {"clip_id": "up blue", "query_id": None},
        {"clip_id": "up blue", "query_id": {"a": 1}}, {"clip_id": "up blue", "query_id": "a\0b"},
    ],
)  # fmt: skip
def test_what_nothing_is_known_of_has_no_prediction_and_spoils_no_other(
    client: TestClient, query: str, data: dict[str, Any]
) -> None:
    asked = {"query_id": query, **data}
    first, second, third = predicted(
        client, task(clip_id="up blue", query_id=query), task(**asked), task(clip_id="left-red", query_id=query)
    )
    assert second == []
    assert (first["score"], third["score"]) == pytest.approx(
        tuple(scores(client, query)[clip] for clip in ("up blue", "left-red")), abs=1e-4
    )


def test_tasks_of_several_queries_are_each_scored_by_their_own(client: TestClient, query: str) -> None:
    other = client.post("/v1/queries", json={"clip": "left-red"}).json()["id"]
    found = predicted(client, *(task(clip_id="up blue", query_id=each) for each in (query, other)))
    assert [each["score"] for each in found] == pytest.approx(
        [scores(client, each)["up blue"] for each in (query, other)], abs=1e-4
    )
    assert found[0]["score"] != found[1]["score"]
    assert {each["model_version"] for each in found} == {"motiontrace"}  # as its setup says, else it is asked for ever


def test_a_query_in_the_address_scores_all_tasks(client: TestClient, query: str) -> None:
    other = client.post("/v1/queries", json={"clip": "left-red"}).json()["id"]
    asked = [task(clip_id="up blue", query_id=query), task(clip_id="up blue")]
    for found in predicted(client, *asked, at=f"{ML}/queries/{other}"):
        assert found["score"] == pytest.approx(scores(client, other)["up blue"], abs=1e-4)
        assert found["model_version"] == f"motiontrace-{other[:8]}"


def test_an_annotator_who_draws_gets_the_same(client: TestClient, query: str) -> None:
    drawn = {"result": [{"id": "b9", "from_name": "box", "to_name": "video", "type": "videorectangle", "value": {}}]}
    asked = task(clip_id="up blue", query_id=query) | {"drafts": [], "annotations": [{"result": drawn["result"]}]}
    assert predicted(client, asked, context=drawn) == predicted(client, task(clip_id="up blue", query_id=query))


def test_only_what_the_set_up_offers_is_predicted(client: TestClient, query: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        LabelRepository(session).put("up blue", verdict="wobbly", decision="drop", tool="api")
    asked = task(clip_id="up blue", query_id=query)
    (found,) = predicted(client, asked)
    assert [each["from_name"] for each in found["result"]] == ["segment", "box"]
    (found,) = predicted(client, asked, config=label_config(["wobbly"]))
    assert [each["from_name"] for each in found["result"]] == ["verdict", "segment", "box"]
    (found,) = predicted(client, asked, config=CONFIG.replace("influential motion", "other"))
    assert [each["from_name"] for each in found["result"]] == ["box"]


def test_an_unknown_query_in_the_address_fails_when_it_is_connected(client: TestClient) -> None:
    assert_problem(client.post(f"{ML}/queries/none/setup", json=setup_call()), 404, "query_not_found")
    assert predicted(client, task(clip_id="up blue"), at=f"{ML}/queries/none") == [[]]


@pytest.mark.parametrize("name", ["%00", "a%00b", "x" * 1001])
def test_an_address_that_names_what_can_be_no_query_is_refused(client: TestClient, name: str) -> None:
    assert_problem(client.post(f"{ML}/queries/{name}/setup", json=setup_call()), 422, "invalid_parameters")
    assert_problem(client.post(f"{ML}/queries/{name}/predict", json=predict_call()), 422, "invalid_parameters")


def test_a_query_that_is_not_done_fails_when_it_is_connected(client: TestClient, query: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        session.get_one(QueryRecord, query).status = "failed"
    assert_problem(client.post(f"{ML}/queries/{query}/setup", json=setup_call()), 409, "query_not_done")
    assert predicted(client, task(clip_id="up blue", query_id=query)) == [[]]


@pytest.mark.parametrize(
    ("config", "lacks"),
    [
        ("", "XML that can be read"),
        ("<View>", "XML that can be read"),
        ("<View/>", "Choices named 'verdict'"),
        (CONFIG.replace("$fps", "24"), "frameRate=\"$fps\""),
        (CONFIG.replace('name="segment" toName="video"', 'name="segment" toName="caption"'), "TimelineLabels"),
        (CONFIG.replace('<Choices name="verdict"', '<Rating name="verdict"', 1).replace("</Choices>", "</Rating>", 1),
         "Choices named 'verdict'"),
        ('<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><View>&b;</View>', "XML without a document type"),
    ],
)  # fmt: skip
def test_a_set_up_that_is_not_ours_is_refused_with_what_it_lacks(client: TestClient, config: str, lacks: str) -> None:
    assert (
        lacks
        in assert_problem(client.post(f"{ML}/setup", json=setup_call(schema=config)), 409, "label_studio_setup")[
            "detail"
        ]
    )
    refused = client.post(f"{ML}/predict", json=predict_call(task(clip_id="up blue"), config=config))
    assert lacks in assert_problem(refused, 409, "label_studio_setup")["detail"]


NAMES = [*CONTROLS, *(f"control{number}" for number in range(10_000))]


@pytest.mark.parametrize(
    "elements",
    [
        [f'<Choices name="{name}" toName="video">' for name in NAMES],
        ['<Choices name="verdict" toName="video">'] * 20_000,
        ["<Choices>"] * 50_000,
        [f'<{CONTROLS[name][0]} name="{name}" toName="{"video," * 20_000}">' for name in CONTROLS],
    ],
    ids=["names", "one name", "no names", "many objects"],
)
def test_no_set_up_takes_more_time_than_its_length_does(client: TestClient, elements: list[str]) -> None:
    tags = [element[1:].split(">")[0].split(" ")[0] for element in elements]
    config = "".join(elements) + "<Choice value='a'/>" * 100 + "".join(f"</{tag}>" for tag in reversed(tags))
    assert 200_000 < len(config) <= MAX_CONFIG
    begun = time.thread_time()
    with pytest.raises(SetupError):
        read_setup(config)
    assert time.thread_time() - begun < 10  # seconds; read by nesting it took over a minute
    assert_problem(client.post(f"{ML}/setup", json=setup_call(schema=config)), 409, "label_studio_setup")


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SetupError, match="several controls are named 'note'"):
        read_setup(CONFIG.replace("</View>", '<TextArea name="note" toName="caption"/></View>'))


def test_a_set_up_is_read_as_label_studio_reads_it() -> None:
    assert read_setup(PROJECT["label_config"]) == Setup.of(PROJECT)
    aliased = CONFIG.replace('<Choice value="cartoon" />', '<Choice value="Cartoon!" alias="cartoon"/>')
    assert aliased != CONFIG
    assert read_setup(aliased) == read_setup(CONFIG)
    for name in CONTROLS:
        with pytest.raises(SetupError, match=name):
            read_setup(CONFIG.replace(f'name="{name}"', 'name="another"'))


@pytest.mark.parametrize("part", ["setup", "predict"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b"null", b'{"schema": 1, "tasks": {}, "label_config": null}']
)
def test_a_body_that_is_something_else_is_refused(client: TestClient, part: str, body: bytes) -> None:
    sent = client.post(f"{ML}/{part}", content=body, headers={"Content-Type": "application/json"})
    assert_problem(sent, 422, "invalid_parameters")


def test_bodies_are_bounded_and_must_be_json(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    huge = client.post(f"{ML}/predict", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert_problem(huge, 413, "body_too_large")
    many = client.post(f"{ML}/predict", json=predict_call(*[{"data": {}}] * (MAX_TASKS + 1)))
    assert_problem(many, 422, "invalid_parameters")
    assert_problem(client.post(f"{ML}/setup", content=b"schema"), 415, "not_json")


def test_a_refusal_repeats_nothing_of_what_was_sent(client: TestClient) -> None:
    refused = client.post(f"{ML}/setup", json={"access_token": STUDIOS_TOKEN, "schema": [STUDIOS_TOKEN]})
    assert_problem(refused, 422, "invalid_parameters")
    assert STUDIOS_TOKEN not in refused.text


def basic(authorization: str, user: str = "label-studio") -> dict[str, str]:
    """The header by which Label Studio sends an API key, from a Bearer header."""
    token = authorization.removeprefix("Bearer ")
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


@pytest.fixture
def guarded(settings: ServiceSettings) -> Iterator[tuple[TestClient, str]]:
    """The app of a catalog with a key that may read, and its header."""
    _, authorization = make_key(settings, "read")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client, authorization


def everything(client: TestClient, headers: dict[str, str], at: str = ML) -> list[int]:
    """The statuses of all calls but the webhook's."""
    return [
        client.get(f"{at}/health", headers=headers).status_code,
        client.post(f"{at}/setup", headers=headers, json=setup_call()).status_code,
        client.get(f"{at}/versions", headers=headers).status_code,
        client.post(f"{at}/predict", headers=headers, json=predict_call(task(clip_id="up blue"))).status_code,
    ]


def test_a_key_that_may_read_is_the_password_of_any_user(guarded: tuple[TestClient, str]) -> None:
    client, authorization = guarded
    for headers in (
        basic(authorization), basic(authorization, user=""), basic(authorization, user="kim@example.com"),
        {"Authorization": basic(authorization)["Authorization"].replace("Basic", "BASIC")},
        {"Authorization": authorization},
    ):  # fmt: skip
        assert everything(client, headers) == [200] * 4
    assert everything(client, basic(authorization), f"{ML}/queries/none") == [200, 404, 200, 200]


def credentials(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize(
    "sent",
    [
        "Basic", "Basic ", "Basic !", "Basic {key}", f"Basic {credentials(b'kim')}", f"Basic {credentials(b'kim:')}",
        f"Basic {credentials(b'kim:secret')}", f"Basic {credentials(bytes([0xFF, 0xFE]))}",
        f"Basic {credentials(b'kim:mt_000000000000_x')}", "Digest {key}", "Bearer",
    ],
)  # fmt: skip
def test_no_other_password_is_taken_and_no_browser_is_made_to_ask_for_one(
    guarded: tuple[TestClient, str], sent: str
) -> None:
    client, authorization = guarded
    headers = {"Authorization": sent.format(key=authorization.removeprefix("Bearer "))}
    for at in (ML, f"{ML}/queries/none"):
        assert everything(client, headers, at) == [401] * 4
        assert everything(client, {}, at) == [401] * 4
    refused = client.get(f"{ML}/health", headers=headers)
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.json()["code"] in ("key_missing", "key_unknown")


def test_a_revoked_key_is_no_password(settings: ServiceSettings) -> None:
    key_id, authorization = make_key(settings, "read")
    revoke_key(settings, key_id)
    with TestClient(create_app(settings)) as client:
        assert everything(client, basic(authorization)) == [401] * 4


def test_nothing_else_takes_passwords(settings: ServiceSettings, guarded: tuple[TestClient, str]) -> None:
    client, _ = guarded
    headers = basic(make_key(settings, "admin")[1])
    others = [path for path in client.get("/openapi.json").json()["paths"] if not path.startswith(ML)]
    assert len(others) >= 20
    for path in [*others, "/labeling/label-studio/ml", "/labeling/label-studio/mlx/health", "/v1/x" + ML + "/health"]:
        for method in ("GET", "POST"):
            answer = client.request(method, path, headers=headers)
            bare = client.request(method, path)
            assert answer.status_code == bare.status_code, (method, path)


def test_posting_there_needs_no_more_than_reading_and_elsewhere_it_does(guarded: tuple[TestClient, str]) -> None:
    client, authorization = guarded
    assert client.post(f"{ML}/setup", headers=basic(authorization), json=setup_call()).status_code == 200
    headers = {"Authorization": authorization}
    for path in ("/labeling/label-studio/mlx", "/labeling/label-studio/x", "/v1/queries"):
        assert_problem(client.post(path, headers=headers, json={}), 403, "scope_missing")


def test_its_webhook_is_open_and_says_nothing(guarded: tuple[TestClient, str]) -> None:
    client, _ = guarded
    for at in (ML, f"{ML}/queries/none"):
        for body in (b"", b"{", json.dumps({"action": "START_TRAINING", "project": {"token": STUDIOS_TOKEN}}).encode()):
            heard = client.post(f"{at}/webhook", content=body)
            assert (heard.status_code, heard.json()) == (200, {})
        assert client.get(f"{at}/webhook").status_code == 405


def test_its_webhook_answers_before_the_body_has_come(settings: ServiceSettings) -> None:
    make_key(settings, "read")
    with serving(settings) as (_, url):
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            connection.sendall(
                f"POST {ML}/webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n".encode()
                + b"Content-Type: application/json\r\n\r\n"
            )  # fmt: skip
            assert connection.recv(1000).split()[1] == b"200"  # not a byte of it was sent


def test_nothing_that_label_studio_sends_is_logged(settings: ServiceSettings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    authorization = make_key(settings, "read")[1]
    with serving(settings) as (_, url), httpx.Client(base_url=url, headers=basic(authorization)) as client:
        client.post(f"{ML}/setup", json=setup_call())
        client.post(f"{ML}/setup", json=setup_call(schema=STUDIOS_TOKEN))
        client.post(f"{ML}/webhook", json={"action": "START_TRAINING", "token": STUDIOS_TOKEN})
        client.post(f"{ML}/predict", json={**predict_call(task(clip_id=STUDIOS_TOKEN)), "token": STUDIOS_TOKEN})
        client.post(f"{ML}/queries/x/predict", json=predict_call(task(clip_id=STUDIOS_TOKEN)))
    told = [record.getMessage() for record in caplog.records if record.name.startswith(("service", "uvicorn"))]
    assert [line for line in told if line.startswith("POST")] == [
        f"POST {ML}/setup 200", f"POST {ML}/setup 409", f"POST {ML}/webhook 200", f"POST {ML}/predict 200",
        f"POST {ML}/queries/{{query_id}}/predict 200",
    ]  # fmt: skip
    assert STUDIOS_TOKEN not in caplog.text
    assert authorization.removeprefix("Bearer ") not in caplog.text
