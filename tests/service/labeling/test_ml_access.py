"""Who may call Label Studio's ML backend, with what, and what of it is told to nobody."""

from __future__ import annotations

import base64
import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from motiontrace.service.app import create_app
from tests.service.asking import assert_problem
from tests.service.keys import make_key, revoke_key
from tests.service.labeling.ml_calls import ML, STUDIOS_TOKEN, predict_call, setup_call, task
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings

BOTH_DATABASES = True


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
        basic(authorization),
        basic(authorization, user=""),
        basic(authorization, user="kim@example.com"),
        {"Authorization": basic(authorization)["Authorization"].replace("Basic", "BASIC")},
        {"Authorization": authorization},
    ):
        assert everything(client, headers) == [200] * 4
    assert everything(client, basic(authorization), f"{ML}/queries/none") == [200, 404, 200, 200]


def credentials(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize(
    "sent",
    [
        "Basic",
        "Basic ",
        "Basic !",
        "Basic {key}",
        f"Basic {credentials(b'kim')}",
        f"Basic {credentials(b'kim:')}",
        f"Basic {credentials(b'kim:secret')}",
        f"Basic {credentials(bytes([0xFF, 0xFE]))}",
        f"Basic {credentials(b'kim:mt_000000000000_x')}",
        "Digest {key}",
        "Bearer",
    ],
)
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
            )
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
    told = [record.getMessage() for record in caplog.records if record.name.startswith(("motiontrace", "uvicorn"))]
    assert [line for line in told if line.startswith("POST")] == [
        f"POST {ML}/setup 200",
        f"POST {ML}/setup 409",
        f"POST {ML}/webhook 200",
        f"POST {ML}/predict 200",
        f"POST {ML}/queries/{{query_id}}/predict 200",
    ]
    assert STUDIOS_TOKEN not in caplog.text
    assert authorization.removeprefix("Bearer ") not in caplog.text
