"""Sending queries in tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient


def ask(client: TestClient, video: Path | bytes, prompt: str = "a square", wait: int = 30, **fields: Any) -> Any:
    """POST a query; gives the response."""
    content = video if isinstance(video, bytes) else video.read_bytes()
    return client.post(
        "/v1/queries",
        files={"video": ("generated.mp4", content, "video/mp4")},
        data={"prompt": prompt, **{name: str(value) for name, value in fields.items()}},
        headers={"Prefer": f"wait={wait}"} if wait else {},
    )


def until(condition: Any, seconds: float = 20.0) -> Any:
    """The first true value that `condition()` gives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The response is problem+json of this status and code; gives it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:problem-type:motiontrace:{code}"
    assert problem["detail"]
    assert problem["todo"]
    assert problem["title"]
    return problem
