"""Who is let in: keys, scopes, rates."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories.keys import ApiKeyRepository
from motiontrace.service.access import keyring
from motiontrace.service.access.exposure import is_loopback
from motiontrace.service.access.limits import RateLimiter
from motiontrace.service.app import create_app
from tests.service.asking import assert_problem, until
from tests.service.keys import make_key, revoke_key
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import RunningApp

OPEN = {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/start.js"}
# These bring a proof of their own, or do nothing.
OTHERWISE = {
    "/media/clips/{clip_id}/video", "/labeling/label-studio/webhook", "/labeling/label-studio/ml/webhook",
}  # fmt: skip


@pytest.fixture
def keys(settings: ServiceSettings) -> dict[str, str]:
    """An Authorization header for each scope."""
    return {scope: make_key(settings, scope)[1] for scope in ("read", "query", "admin")}


@pytest.fixture
def guarded(settings: ServiceSettings, keys: dict[str, str], running_app: RunningApp) -> Iterator[TestClient]:
    """The app of a catalog that has keys."""
    with running_app(settings) as client:
        yield client


def get(client: TestClient, authorization: str, path: str = "/v1/indexes") -> int:
    return client.get(path, headers={"Authorization": authorization}).status_code


def test_without_any_key_this_machine_is_served(client: TestClient) -> None:
    assert client.get("/v1/indexes").status_code == 200
    assert get(client, "Bearer mt_made_up") == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name that was made to point to 127.0.0.1, or a proxy's
        {"Host": "10.0.0.5:8600"},
        {"Host": "evil.example:8600"},
        {"Host": "[2001:db8::1]"},
        {"Host": "["},
        {"Host": "intranet"},  # a name without a dot may be another machine's
        {"Host": "evil.localhost.example"},
        {"Host": "localhost.evil"},
        {"Host": "localhost@evil.example"},
        {"Host": "evil@localhost"},
        {"Host": "localhost/evil"},
        {"Host": "localhost.."},
        {"Host": "localhost:x"},
        {"Host": "localhost:99999"},
        {"Host": "localhost evil.example"},
        {"Host": "0.0.0.0:8600"},
        {"Host": "[::]"},
        {"Host": "::1"},
        {"Host": "127.1"},
        {"Host": "[::1%25lo]"},
        {"Host": "[::ffff:10.0.0.5]"},
        {"Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "Cross-Site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "something-new"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://intranet"},  # a name without a dot, but another one than was called
        {"Origin": "chrome-extension://abcdefghijklmnop"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Host": "127.0.0.1:8600", "X-Forwarded-For": "10.0.0.5"},  # a proxy that gives the host it calls
        {"Host": "127.0.0.1:8600", "Forwarded": "for=10.0.0.5"},
    ],
)
def test_without_any_key_other_hosts_pages_are_kept_out(client: TestClient, headers: dict[str, str]) -> None:
    problem = assert_problem(client.get("/v1/indexes", headers=headers), 401, "key_missing")
    assert "localhost" in problem["todo"]
    assert_problem(client.post("/v1/queries", headers=headers), 401, "key_missing")


def test_without_any_key_pages_that_the_settings_name_may_call(
    settings: ServiceSettings, running_app: RunningApp
) -> None:
    with running_app(settings.model_copy(update={"cors_origins": ("https://labels.example",)})) as client:
        headers = {"Origin": "https://labels.example", "Sec-Fetch-Site": "cross-site"}
        assert client.get("/v1/indexes", headers=headers).status_code == 200
        assert client.get("/v1/indexes", headers=headers | {"Host": "evil.example"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8600"},
        {"Host": "localhost"},
        {"Host": "LocalHost.:8600"},
        {"Host": "localhost:"},
        {"Host": "127.8.0.1"},
        {"Host": "[::1]"},
        {"Host": "[::ffff:127.0.0.1]:8600"},
        {"Host": socket.gethostname()},
        {"Host": socket.gethostname().partition(".")[0].upper() + ":8600"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"},  # a labelling tool on another port
        {"Sec-Fetch-Site": "none"},  # typed in by the user
        {"Host": "[::1]:8600"},
        {"Origin": "http://localhost:8080"},
        {"Host": "testserver:8600", "Origin": "http://127.0.0.1"},
        {"Host": "testserver:8600", "Origin": "http://testserver:8080"},
    ],
)
def test_without_any_key_this_machines_own_names_and_pages_are_served(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.get("/v1/indexes", headers=headers).status_code == 200


def test_every_call_but_the_open_ones_needs_a_key(guarded: TestClient, keys: dict[str, str]) -> None:
    calls = guarded.get("/openapi.json").json()["paths"]
    asked = 0
    for path, methods in calls.items():
        for method in methods:
            answer = guarded.request(method, path.replace("{", "").replace("}", ""))
            refused = answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
            assert refused != (path in OPEN | OTHERWISE), (method, path, answer.status_code)
            asked += 1
    assert asked >= 13
    assert set(calls) >= OTHERWISE
    assert_problem(guarded.get("/v1/no-such-call"), 401, "key_missing")
    assert all(guarded.get(path).status_code in (200, 503) for path in OPEN)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "key_missing"),
        ("", "key_missing"),
        ("Bearer", "key_missing"),
        ("Basic bXQ6eA==", "key_missing"),
        ("Bearer {id}", "key_unknown"),
        ("Bearer mt_{id}_", "key_unknown"),
        ("Bearer mt_{id}_wrong", "key_unknown"),
        ("Bearer mt_000000000000_{secret}", "key_unknown"),
        ("Bearer mt_{id}_{secret}x", "key_unknown"),
        ("Bearer mt_{id}_\xfc", "key_unknown"),
    ],
)
def test_what_is_no_key_is_refused_with_a_challenge(
    guarded: TestClient, keys: dict[str, str], authorization: str | None, code: str
) -> None:
    _, key_id, secret = keys["admin"].split("_", 2)
    headers = {}
    if authorization is not None:
        headers["Authorization"] = authorization.format(id=key_id, secret=secret).encode("latin-1")
    response = guarded.get("/v1/indexes", headers=headers)
    assert_problem(response, 401, code)
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert secret not in response.text


@pytest.mark.parametrize(("scope", "reads", "writes"), [("read", 200, 403), ("query", 200, 415), ("admin", 200, 415)])
def test_a_key_does_what_its_scope_holds(
    guarded: TestClient, keys: dict[str, str], scope: str, reads: int, writes: int
) -> None:
    headers = {"Authorization": keys[scope]}
    assert guarded.get("/v1/queries", headers=headers).status_code == reads
    assert guarded.head("/v1/clips/none/video", headers=headers).status_code == 404
    response = guarded.post("/v1/queries", headers=headers)  # 415: past the door, where a form is asked for
    assert response.status_code == writes
    if writes == 403:
        assert_problem(response, 403, "scope_missing")
        assert 'scope="query"' in response.headers["www-authenticate"]


def test_the_schemes_name_is_read_in_any_case(guarded: TestClient, keys: dict[str, str]) -> None:
    assert get(guarded, keys["read"].replace("Bearer", "bearer")) == 200


def test_a_key_made_while_the_service_runs_works_soon(guarded: TestClient, settings: ServiceSettings) -> None:
    assert get(guarded, "Bearer mt_a_b") == 401
    authorization = make_key(settings, "read")[1]
    until(lambda: get(guarded, authorization) == 200, keyring.UNKNOWN_SECONDS + 2)


def test_a_key_revoked_while_the_service_runs_is_refused_soon(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.2)
    key_id, authorization = make_key(settings, "read")
    with TestClient(create_app(settings)) as client:
        assert get(client, authorization) == 200
        revoke_key(settings, key_id)
        until(lambda: get(client, authorization) == 401, keyring.KNOWN_SECONDS + 2)
        assert_problem(client.get("/v1/indexes"), 401, "key_missing")  # that none works any more opens nothing


def test_the_first_key_closes_a_running_service(
    client: TestClient, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.1)
    assert client.get("/v1/indexes").status_code == 200
    make_key(settings, "read")
    until(lambda: client.get("/v1/indexes").status_code == 401, 2)


def test_an_address_that_others_reach_needs_a_key_even_where_there_is_none(settings: ServiceSettings) -> None:
    exposed = settings.model_copy(update={"host": "0.0.0.0"})
    with TestClient(create_app(exposed)) as client:
        assert_problem(client.get("/v1/indexes", headers={"Host": "127.0.0.1"}), 401, "key_missing")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost", "LOCALHOST"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "localhost.example.org"])
def test_other_addresses(host: str) -> None:
    assert not is_loopback(host)


def test_a_key_is_held_to_its_own_rate(guarded: TestClient, settings: ServiceSettings, keys: dict[str, str]) -> None:
    slow = make_key(settings, "read", requests_per_minute=3)[1]
    until(lambda: get(guarded, slow) == 200)
    answers = [guarded.get("/v1/indexes", headers={"Authorization": slow}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert_problem(answers[-1], 429, "too_many_requests")
    assert 18 <= int(answers[-1].headers["retry-after"]) <= 20
    assert get(guarded, keys["read"]) == 200


def test_the_setting_bounds_keys_without_a_rate(settings: ServiceSettings, keys: dict[str, str]) -> None:
    with TestClient(create_app(settings.model_copy(update={"requests_per_minute": 2}))) as client:
        assert [get(client, keys["read"]) for _ in range(3)] == [200, 200, 429]


def test_a_bucket_fills_evenly_and_holds_a_minutes_requests() -> None:
    moment = 0.0
    limiter = RateLimiter(lambda: moment)
    assert [limiter.take("a", 4) for _ in range(5)] == [0, 0, 0, 0, 15]
    assert limiter.take("b", 4) == 0
    moment = 14.0
    assert limiter.take("a", 4) == pytest.approx(1)
    moment = 15.5
    assert limiter.take("a", 4) == 0
    moment = 1000.0
    assert [limiter.take("a", 4) for _ in range(5)] == [0, 0, 0, 0, 15]


def test_calls_do_not_look_into_the_database_for_their_key(guarded: TestClient, keys: dict[str, str]) -> None:
    engine = guarded.app.state.context.database.engine  # type: ignore[attr-defined]
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    for _ in range(30):
        get(guarded, keys["read"])
        get(guarded, "Bearer mt_unknown_key")
    reads = [statement for statement in statements if "FROM api_keys" in statement]
    assert 1 <= len(reads) <= 10


def test_when_a_key_was_used_is_noted(guarded: TestClient, settings: ServiceSettings, keys: dict[str, str]) -> None:
    assert get(guarded, keys["read"]) == 200

    def used() -> list[Any]:
        with database.reading() as session:
            return [key.scopes for key in ApiKeyRepository(session).all() if key.last_used_at is not None]

    database = Database.open(settings.url)
    try:
        assert until(used) == [["read"]]
    finally:
        database.close()


def test_an_upload_is_refused_before_its_body_is_read(settings: ServiceSettings) -> None:
    authorization = make_key(settings, "read")[1]
    with serving(settings) as (_, url):
        address = urlsplit(url)
        for line, status in ((b"", b"401"), (f"Authorization: {authorization}\r\n".encode(), b"403")):
            with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
                connection.sendall(
                    b"POST /v1/queries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n"
                    + line
                    + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
                )
                assert connection.recv(1000).split()[1] == status  # of the body not a byte was sent
    assert not (settings.upload_directory / "incoming").exists()


def test_the_description_names_each_calls_scope_and_refusals(reader: TestClient) -> None:
    document = reader.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    paths = document["paths"]
    assert paths["/v1/queries"]["post"]["security"] == [{"key": ["query"]}]
    assert paths["/v1/queries"]["get"]["security"] == [{"key": ["read"]}]
    assert {"401", "403", "429"} <= paths["/v1/queries"]["get"]["responses"].keys()
    assert "Retry-After" in paths["/v1/queries"]["get"]["responses"]["429"]["headers"]
    assert "security" not in paths["/healthz"]["get"]
    assert "401" not in paths["/healthz"]["get"]["responses"]


def test_keys_work_on_a_real_socket(settings: ServiceSettings, keys: dict[str, str]) -> None:
    with serving(settings) as (_, url), httpx.Client(base_url=url) as client:
        assert client.get("/v1/indexes").status_code == 401
        answer = client.get("/v1/indexes", headers={"Authorization": keys["read"]})
        assert answer.status_code == 200
        assert "server" not in answer.headers
