"""What answers tell browsers, and the page /docs, which needs no other host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from motiontrace.service.app import create_app
from motiontrace.service.settings import ServiceSettings
from tests.service.asking import assert_problem, until
from tests.service.keys import make_key

if TYPE_CHECKING:
    from pathlib import Path

SITE = "https://labels.example.org"
PREFLIGHT = {"Origin": SITE, "Access-Control-Request-Method": "POST"}


@pytest.fixture
def shared(settings: ServiceSettings) -> ServiceSettings:
    return settings.model_copy(update={"cors_origins": (SITE,)})


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/indexes", 200), ("/v1/nothing", 404), ("/v1/clips?limit=0", 422), ("/v1/clips/left-red/video", 200)],
)
def test_every_answer_is_nothing_to_run_or_frame(reader: TestClient, path: str, status: int) -> None:
    response = reader.get(path)
    assert response.status_code == status
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-site"


def unavailable(client: TestClient) -> Any:
    """The answer, once the keys are looked for in a database that is no more."""
    answer = client.get("/v1/indexes", headers={"Authorization": "Bearer mt_a_b"})
    return answer if answer.status_code == 503 else None


def test_refusals_and_unexpected_errors_have_them_too(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorization = make_key(settings, "read")[1]
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        refused = client.get("/v1/indexes")
        monkeypatch.setattr("motiontrace.service.clips.endpoints.ClipRepository", None)  # a fault of ours
        broken = client.get("/v1/clips", headers={"Authorization": authorization})
        for file in settings.home.glob("catalog.db*"):
            file.unlink()
        client.app.state.context.database.close()  # type: ignore[attr-defined]  # the next finds an empty file
        away = until(lambda: unavailable(client))
    assert (refused.status_code, broken.status_code) == (401, 500)
    assert_problem(away, 503, "database_unavailable")
    for response in (refused, broken, away):
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["cache-control"] == "no-store"


def test_answers_are_not_kept_unless_they_say_so(reader: TestClient) -> None:
    assert reader.get("/v1/indexes").headers["cache-control"] == "no-store"
    assert reader.get("/v1/nothing").headers["cache-control"] == "no-store"
    assert reader.get("/v1/clips/left-red/video").headers["cache-control"] == "private, no-cache"


def test_no_other_sites_page_is_let_in_unless_it_is_named(reader: TestClient) -> None:
    for response in (reader.options("/v1/queries", headers=PREFLIGHT), reader.get("/healthz", headers=PREFLIGHT)):
        assert not [name for name in response.headers if name.startswith("access-control-")]


def test_a_named_sites_page_may_call_with_a_key(shared: ServiceSettings) -> None:
    authorization = make_key(shared, "read")[1]
    with TestClient(create_app(shared)) as client:
        asked = {"Access-Control-Request-Headers": "authorization, prefer, content-type"}
        preflight = client.options("/v1/queries", headers=PREFLIGHT | asked)
        assert preflight.status_code == 200  # without a key: browsers send none with it
        assert preflight.headers["access-control-allow-origin"] == SITE
        assert {"Authorization", "Prefer"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
        answer = client.get("/v1/indexes", headers={"Origin": SITE, "Authorization": authorization})
        refused = client.get("/v1/indexes", headers={"Origin": SITE})
        assert (answer.status_code, refused.status_code) == (200, 401)
        for response in (preflight, answer, refused):
            assert response.headers["access-control-allow-origin"] == SITE
            assert "access-control-allow-credentials" not in response.headers
            assert response.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("origin", [f"{SITE}.evil.example", "http://labels.example.org", f"{SITE}:444", "null"])
def test_what_only_looks_like_a_named_site_is_not_let_in(shared: ServiceSettings, origin: str) -> None:
    with TestClient(create_app(shared)) as client:
        assert client.options("/v1/queries", headers=PREFLIGHT | {"Origin": origin}).status_code == 400
        assert "access-control-allow-origin" not in client.get("/healthz", headers={"Origin": origin}).headers


@pytest.mark.parametrize("origin", ["*", "labels.example.org", f"{SITE}/", f"{SITE}/app", "https://A.example.org"])
def test_what_is_no_origin_is_refused_in_the_settings(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        ServiceSettings(home=tmp_path, cors_origins=(origin,))


def test_lists_are_read_from_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTIONTRACE_CORS_ORIGINS", f"{SITE} http://localhost:8080")
    monkeypatch.setenv("MOTIONTRACE_MEDIA_ROOTS", f"{tmp_path}/a b:/c")
    settings = ServiceSettings(home=tmp_path)
    assert settings.cors_origins == (SITE, "http://localhost:8080")
    assert [str(root) for root in settings.media_roots] == [f"{tmp_path}/a b", "/c"]


def test_the_reference_page_loads_nothing_from_other_hosts(reader: TestClient) -> None:
    page = reader.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len([part for part in parts if not part.startswith("data:")]) == 3
    for part in parts:
        if not part.startswith("data:"):
            answer = reader.get(f"/{part}")
            assert answer.status_code == 200, part
            assert answer.headers["content-type"].partition(";")[0] in ("text/javascript", "text/css")
    assert "'unsafe-eval'" not in page.headers["content-security-policy"]
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert reader.get("/redoc").status_code == 404


@pytest.mark.parametrize(
    "path", ["/docs/files/../../secrets", "/docs/files/%2e%2e/core.py", "/docs/files/..%2fcore.py"]
)
def test_the_reference_pages_files_are_no_way_out(reader: TestClient, path: str) -> None:
    assert reader.get(path).status_code == 404
